// The NaN of an invalid operation on a host that is not x86: positive; its high word.
const HOST_NAN: u32 = 0x7ff80000u;
