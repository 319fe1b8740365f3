// The NaN of an invalid operation on an x86 host: negative; its high word.
const HOST_NAN: u32 = 0xfff80000u;
