"""Preparation in pieces on one machine: the same calls as the state machine makes, with documents in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.request import TrainingRequest
from data_preparation import pieces
from data_preparation.documents import packed, unpacked
from data_preparation.pieces import PieceScan, Round, Writing, Written
from data_preparation.preparation import PreparedData, fingerprint_of
from data_preparation.reading import SourceFile
from data_preparation.splitting import PARTS

Piece = list[SourceFile] | dict[str, str | int]


def prepare_in_pieces(
    cut: Sequence[Piece],
    request: TrainingRequest,
    workspace: Path,
    champion: Mapping[str, Any] | None = None,
) -> PreparedData:
    """Prepare a data set of which each piece holds some files, as `preparation.prepare` does without pieces.

    A piece may be a part of a file; the file's fingerprint is a piece of its own before it.
    """
    folders = [workspace / str(number) for number in range(len(cut))]
    for folder in folders:
        folder.mkdir()
    files_of_all = [each for piece in cut if not isinstance(piece, dict) for each in piece]
    round_ = pieces.first_file(iter(files_of_all), request, champion, workspace)
    while True:
        handed = packed(round_.document())
        for files, folder in zip(cut, folders, strict=True):
            scan = _scanned(files, Round(**unpacked(handed)), folder)
            (folder / "scan").write_bytes(packed(scan.document()))
        again, whole, reading = pieces.merge_scans((_scan(folder) for folder in folders), round_)
        if again is None:
            break
        round_ = again
    found = pieces.found_in(whole, reading)
    split, rows = round_.first.split, whole.rows
    by_piece = pieces.is_split_by_piece(split, rows)
    first_time = None
    if not by_piece:
        codes = [folder / pieces.PIECE_CODES for folder in folders]
        first_time = pieces.write_masks(codes, round_, found, lambda number: folders[number] / "mask")
    writing = Writing(found, fingerprint_of(whole.scans), split, rows, by_piece, first_time, round_.cut, whole.begins)
    handed = packed(Writing.document(pieces.for_writers(writing)))
    written = []
    for number, (files, folder) in enumerate(zip(cut, folders, strict=True)):
        bits = None if by_piece else (folder / "mask").read_bytes()
        held = [] if isinstance(files, dict) else files
        own = Writing(**unpacked(handed))
        told = pieces.write_piece(held, _scan(folder), round_, own, pieces.PieceSplit(own, number, bits), folder)
        written.append(Written(**unpacked(packed(vars(told)))))
    sample = pieces.sample_of(found)
    for part in PARTS:
        streams = (folder / f"{part}.arrow" for folder in folders)
        shown = sample if part == "train" else None
        pieces.put_together(streams, writing.schemas[part], workspace / f"{part}.parquet", shown)
    profile = pieces.whole_profile(whole, reading, writing, written, sample)
    return PreparedData(workspace / "train.parquet", workspace / "test.parquet", profile, found.request)


def _scanned(files: Piece, round_: Round, folder: Path) -> PieceScan:
    if isinstance(files, dict):
        (folder / pieces.PIECE_CODES).touch()
        return PieceScan(fingerprint=files)
    if files and files[0].segment is not None:
        return pieces.scan_part(files[0], round_, folder)
    return pieces.scan_piece(files, round_, folder)


def _scan(folder: Path) -> PieceScan:
    return PieceScan(**unpacked((folder / "scan").read_bytes()))
