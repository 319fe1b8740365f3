//! A fragment: pipelines of filters, probes and one sink, run slot by slot on a player.
