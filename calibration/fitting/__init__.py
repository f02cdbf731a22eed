"""What is chosen on held-out answers: scale and bias of the logits, and the confidence below which to abstain."""
