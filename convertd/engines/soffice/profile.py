"""The profile of one LibreOffice process: made for it alone, with everything off that reaches out."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from convertd.engines.soffice.installation import Installation

_COMMON: Final = "/org.openoffice.Office.Common"
_SCRIPTING: Final = f"{_COMMON}/Security/Scripting"

_SETTINGS: Final[tuple[tuple[str, str, str], ...]] = (
    (_SCRIPTING, "DisableMacrosExecution", "true"),
    (_SCRIPTING, "MacroSecurityLevel", "3"),
    (_SCRIPTING, "DisableActiveContent", "true"),
    (_SCRIPTING, "DisablePythonRuntime", "true"),
    (_SCRIPTING, "BlockUntrustedRefererLinks", "true"),
    ("/org.openoffice.Office.Writer/Content/Update", "Link", "2"),
    ("/org.openoffice.Office.Calc/Content/Update", "Link", "1"),
    (f"{_COMMON}/Misc", "CrashReport", "false"),
    (f"{_COMMON}/Misc", "UseOpenCL", "false"),
    (f"{_COMMON}/Misc", "FirstRun", "false"),
    ("/org.openoffice.Office.Recovery/AutoSave", "Enabled", "false"),
    ("/org.openoffice.Office.Recovery/RecoveryInfo", "Enabled", "false"),
    ("/org.openoffice.Setup/Office", "ooSetupInstCompleted", "true"),
    (
        "/org.openoffice.Office.Jobs/Jobs/org.openoffice.Office.Jobs:Job['UpdateCheck']/Arguments",
        "AutoCheckEnabled",
        "false",
    ),
)
"""Path, property and value; a property that a release does not know is passed over by it. Links: 2 and 1 are
Writer's and Calc's words for "never"."""

_REGISTRY: Final = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
{items}
</oor:items>
"""
_ITEM: Final = (
    '<item oor:path="{path}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>'
)
_NO_JAVA: Final = """<?xml version="1.0" encoding="UTF-8"?>
<java xmlns="http://openoffice.org/2004/java/framework/1.0" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<enabled xsi:nil="false">false</enabled>
</java>
"""
_JAVA_SETTINGS: Final = "java.xml"
_SHARED: Final = "shared"


def write(folder: Path, installation: Installation) -> tuple[str, ...]:
    """Make the profile in the new directory ``folder``; the arguments that make a process use it."""
    user = folder / "user"
    extensions = user / "extensions"
    extensions.mkdir(parents=True)
    items = "\n".join(
        _ITEM.format(path=escape(path), name=name, value=value) for path, name, value in _SETTINGS
    )
    (user / "registrymodifications.xcu").write_text(_REGISTRY.format(items=items), encoding="utf-8")
    # In a profile of another build's it first clears the extensions away and asks to be started again.
    (extensions / "buildid").write_text(installation.build, encoding="utf-8")
    (folder / _JAVA_SETTINGS).write_text(_NO_JAVA, encoding="utf-8")
    return (
        f"-env:UserInstallation={folder.as_uri()}",
        f"-env:URE_OVERRIDE_JAVA_JFW_USER_DATA={(folder / _JAVA_SETTINGS).as_uri()}",
        # The extensions that all users of the machine share lie where nobody here may look.
        f"-env:UNO_SHARED_PACKAGES_CACHE={(folder / _SHARED).as_uri()}",
    )
