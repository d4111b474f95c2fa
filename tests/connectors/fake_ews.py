"""As much of Exchange Web Services as a mailbox needs, over HTTP, written for these tests.

Answers have the shapes of Microsoft's documentation; failures can be put in front of them.
"""

from __future__ import annotations

import struct
import threading
from base64 import b64decode, b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

T = "{http://schemas.microsoft.com/exchange/services/2006/types}"
M = "{http://schemas.microsoft.com/exchange/services/2006/messages}"
_NAMES = (
    'xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" '
    'xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"'
)


# Type 2 of NTLM: signature, kind, no target, flags (Unicode, NTLM, target info, extended security),
# the challenge, and a list of what is known of the target that ends at once.
_CHALLENGE = (
    b"NTLMSSP\0"
    + (2).to_bytes(4, "little")
    + struct.pack("<HHI", 0, 0, 56)
    + (0x00880201 | 0x00000004).to_bytes(4, "little")
    + b"12345678"
    + bytes(8)
    + struct.pack("<HHI", 4, 4, 56)
    + bytes(8)
    + bytes(4)
)


class FakeEws:
    """A server with one mailbox, whose folders have an id and the ids of their items."""

    def __init__(self, *, page: int = 2) -> None:
        self.folders: dict[str, tuple[str, str, str]] = {}  # id → parent, name, class
        self.changes: dict[str, list[tuple[str, str]]] = {}  # folder → (kind of change, item)
        self.items: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.impersonated: list[str] = []
        self.tokens: set[str] = set()
        self.failures: list[tuple[str, str]] = []  # request, response code
        self.expired = False
        self.unauthorized = False
        self.ntlm = False
        self.signed_in: list[bytes] = []
        self._page = page
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            _signed_in = False

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.tokens.add(self.headers.get("authorization", ""))
                if outer.ntlm and not self._may():
                    return
                status, content = outer._answer(ET.fromstring(body))
                if outer.unauthorized:
                    status, content = 401, b""
                self.send_response(status)
                self.send_header("content-type", "text/xml; charset=utf-8")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _may(self) -> bool:
                """Lead through NTLM's handshake, on one connection; note who signs in."""
                kind, _, sent = self.headers.get("authorization", "").partition(" ")
                raw = b64decode(sent) if kind == "NTLM" else b""
                if self._signed_in or raw[8:9] == b"\x03":
                    outer.signed_in += [raw] if raw else []
                    self._signed_in = True
                    return True
                answer = "NTLM " + b64encode(_CHALLENGE).decode() if raw else "NTLM"
                self.send_response(401)
                self.send_header("www-authenticate", answer)
                self.send_header("content-length", "0")
                self.end_headers()
                return False

            def log_message(self, *_args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/EWS/Exchange.asmx"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.add_folder("root", "", "", "IPF")
        self.add_folder("msgfolderroot", "root", "Top of Information Store", "IPF.Note")
        self.add_folder("inbox", "msgfolderroot", "Inbox")
        self.add_folder("drafts", "msgfolderroot", "Drafts")
        self.add_folder("calendar", "msgfolderroot", "Calendar", "IPF.Appointment")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_folder(self, one: str, parent: str, name: str, kind: str = "IPF.Note") -> None:
        self.folders[one] = (parent, name, kind)
        self.changes[one] = []

    def put(self, folder: str, item: str, mime: bytes, change: str = "Create", **more: Any) -> None:
        self.items[item] = {"MimeContent": b64encode(mime).decode(), **more}
        self.changes[folder].append((change, item))

    def _answer(self, envelope: ET.Element) -> tuple[int, bytes]:
        for one in envelope.iter(f"{T}ConnectingSID"):
            self.impersonated += [child.text or "" for child in one]
        body = next(one for one in envelope if one.tag.endswith("Body"))
        request = body[0]
        name = request.tag.rpartition("}")[2]
        self.asked.append(name)
        for failure in self.failures:
            if failure[0] == name:
                self.failures.remove(failure)
                return _soap(name, [_message(name, "", failure[1])])
        return _soap(name, getattr(self, f"_{name.lower()}")(request))

    def _getfolder(self, request: ET.Element) -> list[str]:
        found = request.find(f"{M}FolderIds")
        assert found is not None
        ids = [one.get("Id", "") for one in found]
        return [
            _message("GetFolder", f"<m:Folders>{self._folder(one)}</m:Folders>")
            if one in self.folders
            else _message("GetFolder", "<m:Folders/>", "ErrorFolderNotFound")
            for one in ids
        ]

    def _findfolder(self, request: ET.Element) -> list[str]:
        shown = [one for one in self.folders if one != "root"]
        inside = "".join(self._folder(one) for one in shown)
        count = f'TotalItemsInView="{len(shown)}" IncludesLastItemInRange="true"'
        root = f"<m:RootFolder {count}><t:Folders>{inside}</t:Folders></m:RootFolder>"
        return [_message("FindFolder", root)]

    def _folder(self, one: str) -> str:
        parent, name, kind = self.folders[one]
        count = sum(above == one for above, _, _ in self.folders.values())
        return (
            f'<t:Folder><t:FolderId Id="{one}" ChangeKey="k"/>'
            f'<t:ParentFolderId Id="{parent}" ChangeKey="k"/><t:FolderClass>{kind}</t:FolderClass>'
            f"<t:DisplayName>{escape(name)}</t:DisplayName>"
            f"<t:ChildFolderCount>{count}</t:ChildFolderCount></t:Folder>"
        )

    def _syncfolderitems(self, request: ET.Element) -> list[str]:
        found = request.find(f"{M}SyncFolderId")
        assert found is not None
        folder = found[0].get("Id", "")
        state = request.findtext(f"{M}SyncState")
        if state is not None and self.expired:
            return [_message("SyncFolderItems", "", "ErrorInvalidSyncStateData")]
        at = int(state or 0)
        changes = self.changes[folder][at : at + self._page]
        upto = at + len(changes)
        last = str(upto == len(self.changes[folder])).lower()
        inside = "".join(self._change(kind, item) for kind, item in changes)
        return [
            _message(
                "SyncFolderItems",
                f"<m:SyncState>{upto}</m:SyncState><m:IncludesLastItemInRange>{last}"
                f"</m:IncludesLastItemInRange><m:Changes>{inside}</m:Changes>",
            )
        ]

    def _change(self, kind: str, item: str) -> str:
        if kind == "Delete":
            return f'<t:Delete><t:ItemId Id="{item}" ChangeKey="k"/></t:Delete>'
        if kind == "ReadFlagChange":
            inside = f'<t:ItemId Id="{item}" ChangeKey="k"/><t:IsRead>true</t:IsRead>'
            return f"<t:ReadFlagChange>{inside}</t:ReadFlagChange>"
        return f"<t:{kind}>{self._item(item)}</t:{kind}>"

    def _getitem(self, request: ET.Element) -> list[str]:
        found = request.find(f"{M}ItemIds")
        assert found is not None
        ids = [one.get("Id", "") for one in found]
        return [
            _message("GetItem", f"<m:Items>{self._item(one, mime=True)}</m:Items>")
            if one in self.items
            else _message("GetItem", "<m:Items/>", "ErrorItemNotFound")
            for one in ids
        ]

    def _item(self, one: str, *, mime: bool = False) -> str:
        held = {
            "ItemClass": "IPM.Note",
            "DateTimeReceived": "2020-01-09T12:00:00Z",
            "Size": "100",
            "Importance": "Normal",
            "IsDraft": "false",
            "IsRead": "false",
            **self.items[one],
        }
        content = held.pop("MimeContent")
        inside = f'<t:MimeContent CharacterSet="UTF-8">{content}</t:MimeContent>' if mime else ""
        inside += f'<t:ItemId Id="{one}" ChangeKey="k"/>'
        inside += "".join(f"<t:{name}>{value}</t:{name}>" for name, value in held.items())
        return f"<t:Message>{inside}</t:Message>"


def _message(name: str, inside: str, code: str = "NoError") -> str:
    if name == "SyncFolderItems" and code != "NoError":
        # These two stand in refusals, too.
        inside = "<m:SyncState/><m:IncludesLastItemInRange>true</m:IncludesLastItemInRange>"
    kind = "Success" if code == "NoError" else "Error"
    text = "" if code == "NoError" else f"<m:MessageText>{code}</m:MessageText>"
    return (
        f'<m:{name}ResponseMessage ResponseClass="{kind}">{text}'
        f"<m:ResponseCode>{code}</m:ResponseCode>{inside}</m:{name}ResponseMessage>"
    )


def _soap(name: str, messages: list[str]) -> tuple[int, bytes]:
    text = (
        '<?xml version="1.0" encoding="utf-8"?><s:Envelope '
        f'xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo '
        'MajorVersion="15" MinorVersion="20" MajorBuildNumber="1" MinorBuildNumber="1" '
        'Version="V2018_01_08" '
        'xmlns:h="http://schemas.microsoft.com/exchange/services/2006/types"/></s:Header>'
        f"<s:Body><m:{name}Response {_NAMES}><m:ResponseMessages>{''.join(messages)}"
        f"</m:ResponseMessages></m:{name}Response></s:Body></s:Envelope>"
    )
    return 200, text.encode()
