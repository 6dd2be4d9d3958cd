"""Teacher labels: records, the label store on disk, checks of labels, and maintenance of a store."""
