package main

import "testing"

// Words as another assembler, LLVM's, makes them of the text.
var words = []struct {
	got  instruction
	text string
	word uint32
}{
	{fadd(1, 2, 31), "fadd v1.4s, v2.4s, v31.4s", 0x4e3fd441},
	{fsub(1, 2, 31), "fsub v1.4s, v2.4s, v31.4s", 0x4ebfd441},
	{fmul(1, 2, 31), "fmul v1.4s, v2.4s, v31.4s", 0x6e3fdc41},
	{fdiv(1, 2, 31), "fdiv v1.4s, v2.4s, v31.4s", 0x6e3ffc41},
	{fmla(1, 2, 31), "fmla v1.4s, v2.4s, v31.4s", 0x4e3fcc41},
	{fmls(1, 2, 31), "fmls v1.4s, v2.4s, v31.4s", 0x4ebfcc41},
	{fmax(1, 2, 31), "fmax v1.4s, v2.4s, v31.4s", 0x4e3ff441},
	{fmin(1, 2, 31), "fmin v1.4s, v2.4s, v31.4s", 0x4ebff441},
	{faddp(1, 2, 31), "faddp v1.4s, v2.4s, v31.4s", 0x6e3fd441},
	{fcmgt(1, 2, 31), "fcmgt v1.4s, v2.4s, v31.4s", 0x6ebfe441},
	{fcmeq(1, 2, 31), "fcmeq v1.4s, v2.4s, v31.4s", 0x4e3fe441},
	{add4s(1, 2, 31), "add v1.4s, v2.4s, v31.4s", 0x4ebf8441},
	{add2d(1, 2, 31), "add v1.2d, v2.2d, v31.2d", 0x4eff8441},
	{and(1, 2, 31), "and v1.16b, v2.16b, v31.16b", 0x4e3f1c41},
	{eor(1, 2, 31), "eor v1.16b, v2.16b, v31.16b", 0x6e3f1c41},
	{bic(1, 2, 31), "bic v1.16b, v2.16b, v31.16b", 0x4e7f1c41},
	{zip1b(1, 2, 31), "zip1 v1.16b, v2.16b, v31.16b", 0x4e1f3841},
	{zip2b(1, 2, 31), "zip2 v1.16b, v2.16b, v31.16b", 0x4e1f7841},
	{zip1s(1, 2, 31), "zip1 v1.4s, v2.4s, v31.4s", 0x4e9f3841},
	{zip2s(1, 2, 31), "zip2 v1.4s, v2.4s, v31.4s", 0x4e9f7841},
	{trn1s(1, 2, 31), "trn1 v1.4s, v2.4s, v31.4s", 0x4e9f2841},
	{trn2s(1, 2, 31), "trn2 v1.4s, v2.4s, v31.4s", 0x4e9f6841},
	{trn1d(1, 2, 31), "trn1 v1.2d, v2.2d, v31.2d", 0x4edf2841},
	{trn2d(1, 2, 31), "trn2 v1.2d, v2.2d, v31.2d", 0x4edf6841},
	{fcvtl(17, 30), "fcvtl v17.4s, v30.4h", 0x0e217bd1},
	{fcvtl2(17, 30), "fcvtl2 v17.4s, v30.8h", 0x4e217bd1},
	{fcvtn(17, 30), "fcvtn v17.4h, v30.4s", 0x0e216bd1},
	{fcvtn2(17, 30), "fcvtn2 v17.8h, v30.4s", 0x4e216bd1},
	{shll(17, 30), "shll v17.4s, v30.4h, #16", 0x2e613bd1},
	{shll2(17, 30), "shll2 v17.4s, v30.8h, #16", 0x6e613bd1},
	{fneg(17, 30), "fneg v17.4s, v30.4s", 0x6ea0fbd1},
	{scvtf(17, 30), "scvtf v17.4s, v30.4s", 0x4e21dbd1},
	{ucvtf(17, 30), "ucvtf v17.4s, v30.4s", 0x6e21dbd1},
	{sxtlb(17, 30), "sshll v17.8h, v30.8b, #0", 0x0f08a7d1},
	{sxtlb2(17, 30), "sshll2 v17.8h, v30.16b, #0", 0x4f08a7d1},
	{sxtlh(17, 30), "sshll v17.4s, v30.4h, #0", 0x0f10a7d1},
	{sxtlh2(17, 30), "sshll2 v17.4s, v30.8h, #0", 0x4f10a7d1},
	{uxtlb(17, 30), "ushll v17.8h, v30.8b, #0", 0x2f08a7d1},
	{uxtlh(17, 30), "ushll v17.4s, v30.4h, #0", 0x2f10a7d1},
	{uxtlh2(17, 30), "ushll2 v17.4s, v30.8h, #0", 0x6f10a7d1},
	{shl4s(5, 26, 3), "shl v5.4s, v26.4s, #3", 0x4f235745},
	{shl16b(5, 26, 3), "shl v5.16b, v26.16b, #3", 0x4f0b5745},
	{sli(5, 26, 3), "sli v5.16b, v26.16b, #3", 0x6f0b5745},
	{ushr(5, 26, 3), "ushr v5.16b, v26.16b, #3", 0x6f0d0745},
	{scvtfFixed(5, 26, 3), "scvtf v5.4s, v26.4s, #3", 0x4f3de745},
	{ucvtfFixed(5, 26, 3), "ucvtf v5.4s, v26.4s, #3", 0x6f3de745},
	{fmlaLane(7, 8, 21, 3), "fmla v7.4s, v8.4s, v21.s[3]", 0x4fb51907},
	{fmlsLane(7, 8, 21, 3), "fmls v7.4s, v8.4s, v21.s[3]", 0x4fb55907},
	{fmulLane(7, 8, 21, 3), "fmul v7.4s, v8.4s, v21.s[3]", 0x4fb59907},
	{fmlaLane(7, 8, 21, 0), "fmla v7.4s, v8.4s, v21.s[0]", 0x4f951107},
	{fmlaLane(7, 8, 21, 1), "fmla v7.4s, v8.4s, v21.s[1]", 0x4fb51107},
	{fmlaLane(7, 8, 21, 2), "fmla v7.4s, v8.4s, v21.s[2]", 0x4f951907},
	{dup(3, 29, 0), "dup v3.4s, v29.s[0]", 0x4e0407a3},
	{dup(3, 29, 3), "dup v3.4s, v29.s[3]", 0x4e1c07a3},
	{tbl(4, 5, 31), "tbl v4.16b, { v5.16b }, v31.16b", 0x4e1f00a4},
	{movi(9, 0), "movi v9.16b, #0", 0x4f00e409},
	{movi(9, 0x3c), "movi v9.16b, #60", 0x4f01e789},
	{movi(9, 0x80), "movi v9.16b, #128", 0x4f04e409},
	{mov(31, 1), "mov v31.16b, v1.16b", 0x4ea11c3f},
	{fmaxv(6, 7), "fmaxv s6, v7.4s", 0x6e30f8e6},
	{addpd(2, 3), "addp d2, v3.2d", 0x5ef1b862},
	{fmuls(1, 20, 30), "fmul s1, s20, s30", 0x1e3e0a81},
	{fcvtsh(15, 16), "fcvt s15, h16", 0x1ee2420f},
	{ldrh(3, 26, 208), "ldr h3, [x26, #208]", 0x7d41a343},
	{ldrh(3, 0, 0), "ldr h3, [x0, #0]", 0x7d400003},
}

func TestInstructionsAreEncodedAsAnotherAssemblerDoes(t *testing.T) {
	for _, c := range words {
		if c.got.text != c.text || c.got.word != c.word {
			t.Errorf("%s is %#08x, not %s, %#08x", c.got.text, c.got.word, c.text, c.word)
		}
	}
}
