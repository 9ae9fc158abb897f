"""Speed and memory of the network beside those of other packages: paired, interleaved, and compared before timed."""
