"""The parts of the network, and the standalone multi-axis attention modules."""
