"""Learning: texts and arrays in, arrays out; knows neither database nor HTTP."""
