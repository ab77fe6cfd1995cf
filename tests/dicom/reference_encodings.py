"""The same image in every encoding: written by pydicom, by gdcm, or stored here as bytes."""

import base64
from pathlib import Path

import gdcm
import numpy as np
import reference_files as reference
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, RLELossless

PYDICOM = {"RLE": RLELossless, "JPEG 2000": JPEG2000Lossless}
GDCM = {
    "JPEG Lossless, process 14": gdcm.TransferSyntax.JPEGLosslessProcess14,
    "JPEG Lossless SV1": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG-LS near-lossless": gdcm.TransferSyntax.JPEGLSNearLossless,
    "RLE by gdcm": gdcm.TransferSyntax.RLELossless,
}
"""gdcm's near-lossless has an error of 0 by default; the files of pydicom have other errors."""
LOSSLESS = (*reference.NATIVE, *PYDICOM, *GDCM)

HTJ2K = {
    ("u1", 8): (
        "|4;u>04YEK0000K0000G00000000000000K0000G0000000000009R90sl|{2mk^A00092QUDA90ssL31q1{@0smY86Cg-XP*6}%"
        "P*6}%P*6}vNJ#%=02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000ng9X+lfWh00Ect{z!HG?0LOFyz!AU`z!CreV*nyS{s3Y$"
        "0R9(q0KgJJ6_5mg{1I~i00;m?0Qmp_1Aevu`~c$sz!fkBbO9isfdJ@w-<7uj7>$Nu`~VRcLIC{X2>|>60|3A)pcaGzU;qFBss#(v"
        "1kKPbvFiYMcXxMp@wxAl-@Z>}hD!ka_3#Eo0RPz"
    ),
    ("u2", 12): (
        "|4;u>04YEK0000K0000G00000000000000K0000G0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&"
        "kdTm&kdTmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000)&K$jlfVEb1NH?6bO68r5`dxshjakI01?0d6#yr508&y)"
        "{s7`M0KfneKmZkR00e;X60-m%NfML%03iT(Rsj3~(*VE#6;J>LsQ>^}0AL%8g8wl96gL1t5C8~Lkb(q2kN~4HlnPC>{CWW4_y85u"
        "s^$Q|04+EG1=K(QEdYR8paB>o{zgzk22%B#5ihLl0000000^Le000Ew9{>OV{R05t0tn<F0+K=jFE#nut(@&&`~_!q0RRBt11KkQ"
        "v}=;Ly>m(30RPz"
    ),
    ("u2", 16): (
        "|4;u>04YEK0000K0000G00000000000000K0000G0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&"
        "kdTm&kdTmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000_y7U_lfVEbQ{V)LbO68r698KJ1BY|~zyK1!02Ltf0Ect{"
        "XeG@`{sCe%0KfnfzyKA{00e+Ry#4?nQ~+|4bP@poo#X&Q0OwW!;0&_>zyKA{00pT408GSLb7|K62mQUs1y$Gp;2>>~000~$4uXUH"
        "k|Rn$<hd9Cp+KW7bpXHsE|vfRb&voHL<<C1Y61XYVg>-v#0&rcpo#e$dF)62!&hAX!*$k-Ynghya{&MV001yR3=jig00003!~hro"
        "0{{RRAO`pX2Pi-T`9c65tc)Dua2-rlqXDrng!uxMF|rRChaz`?S?vJ-*#"
    ),
    ("i2", 12): (
        "|4;u>04YEK0000K0000G00000000000000K0000G000000000000EBy0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&"
        "kdTm&kdTmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000)&K$jlfVEb1O5VsbO68r5`dxshjakI01?0d6#yr508&y)"
        "{s7`M0KfneKmZkR00e;X60-m%NfML%03iT(Rsj3~(*VE#6;J>LsQ>^}0AL%8g8wl96gL1t5C8~Lkb(q2kN~4HlnPC>{CWW4_y85u"
        "s^$Q|04+EG1=K(QEdYR8paB>o{zgzk22%B#5ihLl0000000^Le000Ew9{>OV{R05t0tn<F0+K=jFE#nut(@&&`~_!q0RRBt11KkQ"
        "v}=;Ly>m(30RPz"
    ),
}
"""Codestreams of ``gradient(dtype, bits, 16, 20)`` by OpenJPH 0.26, reversible, base85: without an encoder here."""


def save(dataset: Dataset, encoding: str, path: Path) -> Path:
    """Write an uncompressed dataset in another encoding."""
    if encoding in PYDICOM:
        dataset.compress(PYDICOM[encoding], generate_instance_uid=False)
    if encoding not in GDCM:
        return reference.save(dataset, path)
    reference.save(dataset, path)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(GDCM[encoding]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    return path


def htj2k(dtype: str, bits: int) -> tuple[Dataset, np.ndarray]:
    """Return a dataset in High-Throughput JPEG 2000, and its values."""
    values = reference.gradient(dtype, bits, 16, 20)
    dataset = reference.build(values, bits)
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    dataset.PixelData = encapsulate([base64.b85decode(HTJ2K[dtype, bits])])
    dataset["PixelData"].VR = "OB"
    return dataset, values
