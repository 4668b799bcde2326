"""The schemas of data of one's own, by the names that conf/data/ uses."""

from medvl.data.sources.folder import Folder
from medvl.data.sources.json_records import JsonRecords
from medvl.data.sources.notes import Notes

OWN = {"folder": Folder, "json_records": JsonRecords, "notes": Notes}
