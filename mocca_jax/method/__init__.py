"""The method, arrays in and arrays out: it knows no network, no data set, no file and no device."""
