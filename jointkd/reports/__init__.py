"""Reports: the page of a data set, and tables and plots of finished runs."""
