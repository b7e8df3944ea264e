"""Experiments, a file each: python train.py --config=configs/NAME.py[:VARIANT] --workdir=W"""
