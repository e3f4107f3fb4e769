"""``python -m train networks``: what every architecture costs."""

import argparse

from train.networks import NETWORKS, build_network
from train.networks.cost import count_macs, count_parameters
from train.networks.transfer import TRANSFER_BASES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--class-count", type=int, default=7)


def run(args: argparse.Namespace) -> int:
    print(f"{'network':<16}{'parameters':>12}{'million MACs':>14}")
    for name in [*NETWORKS, *TRANSFER_BASES]:
        network = build_network(name, args.class_count, args.size)
        print(f"{name:<16}{count_parameters(network):>12,}{count_macs(network) / 1e6:>14.1f}", flush=True)
    return 0
