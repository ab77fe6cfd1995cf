"""The same image in every encoding: written by pydicom, by gdcm, or stored here as bytes."""

import base64
import zlib
from pathlib import Path

import gdcm
import numpy as np
import reference_files as reference
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, HTJ2KLossless, JPEG2000Lossless, RLELossless

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


ROWS, COLUMNS = np.mgrid[:24, :32]
TWELVE_BITS = np.clip(128 * ROWS + 3 * COLUMNS**2 % 900 + 200, 0, 4095).astype(np.uint16)
PROGRESSIVE = "1.2.840.10008.1.2.4.55"
JPEG_OF_12_BITS = {
    "1.2.840.10008.1.2.4.51": (
        "c-s4a<NpH&0WUXCHwH#V1_nkTWcYuZ!I^=Xi3x;&fCY$HIapa)SXjB(+1WUFxOjNDxwyG``Gf>``2_j6xdp@o1cgOJMMZh|#U;c<"
        "B!omnMgAXT;O1eFU{GLW6lC~+1ju4w2HAiB9GqO-yg(UE0R{#pHcnO~sYDhwZgpoDMkZ!fb`CDJbWRN|kHY`A7&t&C*fTu;kjgl_"
        "@0(NU#jF$Z2P>qKX6|^O>U-UF(*!FHafx+jkDtA6(YH%a@<idSb&k1Th0-41;#-g&`}UMiyLD`edH5-2bJ;g7uNPgNVBhq?<fw7s"
        "y;HN-b*Czn2<REc&hDSRu28ll#(2WxtualvU#XluzD3sI-0s^`X7ZKoI+3@23R|A_P0s7Cs}<^5A7pl=J>EOjJXY+K!wZF&q}}H7"
        "<}r_~UhGI$Jf5|ab^8_1+5H(-jdRPlYZ}SCEuHZH|4jf=`*eu"
    ),
    "1.2.840.10008.1.2.4.53": (
        "c-s4a<NpH&0WUXCHwH#V1_nkTWcYuZ!I^=Xi3x;&fCY$HIapa)SXjB(+1WUFxOjNDxwyG``Gf>``2_j6xdp@o1cgOJMMZh|#U;c<"
        "B!omnMgAXR;O1eFU{GLW6lC~+1ju4w2HAiB9GqO-y#H@8a6p8ge~4o&*!Deq57Wckck3%y58Vdpk``cKWMM|u#m&yasm7(D1=YyN"
        "%8<caxI0<ITzb<wbGf@I9(h(x7uX(`9n;7&PmRg5-F0HZol@2XyvN@51l-9xwc}28=|sgHulRw6s|YYKurPBXJ4)Rpk%i5fk%^g="
        "orB9Gy%1^(n>|C5_Nu!M{~1`8g@+z;_-1fVF*e-iLgk%xhbI`u-kvc<?(NhK)KT*PCIAa~cH9"
    ),
    PROGRESSIVE: (
        "c-s4a<NpH&0WUXCHwH#V1_nkTWcYuZ!I^=Xi3x;&fCY$HIapa)SXjB(+1WUFxOjNDxwyG``Gf>``2_j6xdp@o1cgOJMMZh|#U;c<"
        "B!omnMgAXR;O1eFU{GLW6lC~+1ju4w2HAiB>>Qk2JpXSoaDaswpTFP3dUSi~^oAYV-mUu}E_NTNNm_t`k%bvq6DKPhy9$Sz22>v-"
        "D^mvV=^aPR^;Y$syE~EX*@6qw(+fNDVne0p?pESG>$t#N@3Fw0U8~Hk%Uq;qwFAvm6kuRrWnxD*lu6ami6xbhnU#&hEeL8dn>~|K"
        "^be8F{1&#4-nB+zuL4hq?7Nc@U(_gc|G*OO8U^#N=$8|=2lY8D{r1@D_Y{t4|5%lxA2RL<y6@AvYf2HT{&p$xI}3ppiVC3mn}I>0"
        "5$1e*#W~!3oR9rj+gUy?XFA+eaUUKa0w4Z^!c9tm0T>M^+CL~ZGA0(njSxsrZ<e>XaP5NP7oImClAlXS-D0t8oI8)F=CO0ML;HpL"
        "|2F}#w}I~"
    ),
}
"""``TWELVE_BITS`` less 200, by dcmtk with quality 90, compressed by zlib, base85: they have no encoder here."""


def jpeg_bitstream_of_12_bits(syntax: str) -> bytes:
    return zlib.decompress(base64.b85decode(JPEG_OF_12_BITS[syntax]))


def jpeg_of_12_bits(syntax: str, frame: bytes | None = None) -> Dataset:
    """Return a dataset around a bitstream of 12 bits, that of ``TWELVE_BITS`` or another of its size."""
    dataset = reference.build(TWELVE_BITS, 12)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.PixelData = encapsulate([frame or jpeg_bitstream_of_12_bits(syntax)])
    dataset["PixelData"].VR = "OB"
    return dataset


def save_jpeg_of_12_bits(dataset: Dataset, path: Path) -> Path:
    """Write a dataset whose transfer syntax pydicom does not know."""
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return path
