"""Files that nobody put there: file managers, network file systems and editors leave them in any folder."""

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
    """Does a file manager, a network file system or an editor leave files of this name in any folder?"""
    return is_of_machines(name) or _PATTERN.fullmatch(name.casefold()) is not None


def is_of_machines(name: str) -> bool:
    """Is it one of the fixed names among these? No person gives such a name to a class of images."""
    return name.casefold() in _NAMES
