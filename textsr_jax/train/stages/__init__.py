"""The stages of training, a file each. Each file holds its `StageSpec`; `train.plan` orders them.

To add a stage: write a file with its spec here, and add the spec to `plan.STAGES`.
"""
