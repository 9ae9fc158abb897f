"""Speed and memory of the network and of other packages: paired, interleaved, and compared before they are timed."""
