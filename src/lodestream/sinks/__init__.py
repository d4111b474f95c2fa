"""Where comments of a stream are sent to: one module per kind. Knows neither database nor API."""
