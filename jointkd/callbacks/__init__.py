"""What happens around training, besides the training."""
