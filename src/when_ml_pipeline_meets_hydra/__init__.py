"""Machine-learning pipelines in which every choice is a Hydra config group and every stage a command."""
