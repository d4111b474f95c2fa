"""Files in and out: rows, comments and e-mails of each format. Knows neither database nor API."""
