"""The configuration written down: the sample file, what is in force, and the page of the manual."""

from __future__ import annotations

from collections.abc import Mapping

from mailforum.options import SECTIONS, Config, options
from mailforum.units import Size


def to_toml(value: object) -> str:
    """Write one value as TOML, as the sample and `mailforum config` show it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(to_toml(item) for item in value) + "]"
    if isinstance(value, int) and not isinstance(value, Size):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def sample(values: Mapping[tuple[str, str], str]) -> str:
    """Write a commented configuration file.

    `values` maps (section, option) to the TOML to write; every other option stands there as a
    comment with its default.
    """
    lines = ["# mailforum's configuration. What is commented out shows the default.", ""]
    for section, kind in SECTIONS.items():
        lines += [f"# {(kind.__doc__ or '').strip()}", f"[{section}]"]
        for option in options(section):
            written = values.get((section, option.name))
            lines.append(f"# {option.help} ({option.takes}).")
            lines.append(f"{option.name} = {written}" if written else f"# {option.name} = {to_toml(option.default)}")
        lines.append("")
    return "\n".join(lines)


def show(config: Config) -> str:
    """Write the configuration in force as TOML; passwords are not shown."""
    lines = []
    for section in SECTIONS:
        lines.append(f"[{section}]")
        for option in options(section):
            value = getattr(getattr(config, section), option.name)
            secret = option.name == "password" and value
            lines.append(f"{option.name} = {to_toml('(hidden)' if secret else value)}")
        lines.append("")
    return "\n".join(lines)


def page() -> str:
    """Write the table of all options as docs/configuration.md shows it."""
    lines = [
        "# Configuration",
        "",
        "`mailforum init` writes a file with all of this in it. Values come from the defaults, then the file,",
        "then the environment: `MAILFORUM_SMTP_MAX_SIZE` sets `[smtp] max_size`. Times are written as `30s`, `5m`,",
        "`4h` or `5d`, sizes as `300K` or `25M`. Files and folders are meant from where the configuration stands.",
        "Unknown names and wrong values are refused with the line they stand in.",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"## [{section}]", "", (kind.__doc__ or "").strip(), ""]
        lines += ["| option | default | what it is |", "|---|---|---|"]
        for option in options(section):
            takes = option.takes.replace("|", "\\|")
            lines.append(f"| `{option.name}` | `{to_toml(option.default)}` | {option.help} ({takes}) |")
    return "\n".join(lines) + "\n"
