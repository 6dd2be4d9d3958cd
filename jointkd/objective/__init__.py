"""The joint objective: a prediction and a batch make one scalar."""
