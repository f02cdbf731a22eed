"""The subscriber's side: a client, whether to believe what it heard, what it can measure."""
