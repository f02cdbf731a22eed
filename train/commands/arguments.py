"""Arguments that several commands share."""

from __future__ import annotations

import argparse

from engine.settings import add_set
from train.models.options import ENCODERS, OPTIONS


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--source`` and ``--data``."""
    parser.add_argument("--source", help="dfew, ferv39k, mafw, clips or synthetic (data.source)")
    parser.add_argument("--data", help="the data set's folder or CSV file (data.root)")


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device``."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what names a model with options of its own: ``MODEL``, ``--encoder`` and ``--set``."""
    parser.add_argument("model", metavar="MODEL", help=", ".join(OPTIONS))
    parser.add_argument("--encoder", default="vit-b-32", metavar="NAME", help=", ".join(ENCODERS))
    add_set(parser, "an option of the model")
