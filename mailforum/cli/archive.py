from mailforum.cli.common import Commands


def add(commands: Commands) -> None: ...
