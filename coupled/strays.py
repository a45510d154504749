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
    """Is a file or folder of this name none that a person or a program meant to be there?"""
    folded = name.casefold()
    return folded in _NAMES or _PATTERN.fullmatch(folded) is not None
