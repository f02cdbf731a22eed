"""Small models are faster on one thread, and threads of several test runs do not wait for each other."""

import torch

torch.set_num_threads(1)
