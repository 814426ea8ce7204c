"""The papers' experiments, each one command of `vcodec study`."""
