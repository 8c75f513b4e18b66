"""The data sets: each module has `load(config) -> Dataset` and is named by `config.data`."""
