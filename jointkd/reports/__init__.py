"""Tables, plots and pages of data sets and of finished runs."""
