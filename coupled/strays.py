"""Files that nobody put where they are: what file managers, network file systems and editors leave in any folder."""

import re

_NAMES = frozenset(
    {
        # macOS
        *(".ds_store", ".localized", ".appledouble", ".apdisk", ".fseventsd", ".spotlight-v100", ".temporaryitems"),
        *(".trashes", "__macosx"),
        # Windows
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler", "system volume information"),
        # Linux desktops, disks, notebooks
        *(".directory", ".ipynb_checkpoints", "lost+found"),
        # network storage
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", ".snapshot", ".snapshots"),
    }
)
_PATTERN = re.compile(
    r"\._.+"  # macOS: what its attributes become on other file systems
    r"|\.(nfs|fuse_hidden)[0-9a-f]+|\.(smbdelete|__afs|panfs).+"  # removed, and still open somewhere
    r"|\.trash-\d+"
    r"|\..+\.sw[a-z]|.+~|\.#.+|#.+#|\.~lock\..+#"  # editors: swap files, backups, locks
)


def is_stray(name: str) -> bool:
    """True for names that file managers, network file systems and editors give to what they leave in any folder."""
    return is_of_machines(name) or _PATTERN.fullmatch(name.casefold()) is not None


def is_of_machines(name: str) -> bool:
    """The same for names that are always these: no person calls a class of images so."""
    return name.casefold() in _NAMES
