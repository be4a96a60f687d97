"""Put a value that the code found into the text of the page."""

from IPython.core.formatters import format_display_data  # the notebook brings it along
from IPython.display import display as show

HIDDEN = "application/papermill.record/"  # no viewer knows this kind of output, so none shows it; the book's builder finds it


def glue(name: str, value: object, display: bool = False) -> None:
    """Keep a value under a name, so that the text of the page can quote it as `{glue:text}` with that name.

    With `display` the cell shows it, too.
    """
    bundle, metadata = format_display_data(value)
    prefix = "" if display else HIDDEN
    metadata["scrapbook"] = {"name": name, "mime_prefix": prefix}
    show({prefix + kind: data for kind, data in bundle.items()}, metadata=metadata, raw=True)
