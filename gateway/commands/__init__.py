"""The `tollway` command's parts: each file is one group, the click functions above, what they do below. `running` is the way they run."""
