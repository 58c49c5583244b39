// Makes tokenizer/testdata: three small vocabularies, trained here, with the split patterns of Llama 3,
// Qwen 2 and GPT-2, and for each of them and for the model in recall/model what the reference
// implementation makes of some difficult texts.
//
//   npm install --ignore-scripts tokenizers@0.23.2     (in any folder)
//   NODE_PATH=that-folder/node_modules node research/make_tokenizer_goldens.cjs
//
// Node 20. The output does not depend on time or chance.
'use strict';
const fs = require('fs');
const path = require('path');
const { Tokenizer } = require('tokenizers');

const root = path.join(__dirname, '..');
const out = path.join(root, 'tokenizer', 'testdata');

const corpus = `An orrery is a clockwork model of the planets. Each sphere turns on its own arm, and every arm
is geared to the others, so that nobody has to push them all. This one turns layers and blocks of keys: where a
block lies is a question of scheduling, and the answer that attention gives is the same wherever it is asked.
The nodes don't wait for ever. They've deadlines, and if a deadline passes we're told which peer was late; that's
what an error is for. In 2024 a cluster of 3 machines read 1,365 gigabytes in a second; one alone read 546.
func merge(a, b part) part {
\tif a.max < b.max {
\t\ta, b = b, a
\t}
\treturn part{max: a.max, sum: a.sum + b.sum*exp(b.max-a.max)}
}
for (int i = 0; i < count; i++) { total += values[i]; }
L'été, le château et la forêt; über den Straßen; señor, ¿qué pasó? Ελληνικά γράμματα. Русские слова.
日本語の文章と漢字。中文字符。한국어 단어. العربية لغة. हिन्दी शब्द. 😀 😀 👍🏽
`;

const texts = [
  '', ' ', 'a', 'The orrery turns.', 'Hello, world!', "it's we're THEY'VE I'll I'M he'd can't 'S 'x '", "it'ſ late, it'ſx",
  ' leading', 'trailing ', 'two  spaces', 'three   spaces and\ttab', '\t\tindented\n \n  more\n', 'a\r\nb\r\n\r\nc',
  '\n\n\n', '   ', ' \n ', 'x \n', 'end.\n\n', 'x\u00a0y\u3000z\u2028w\u0085v', '1', '12', '123', '1234567890', '3.14159e-10',
  'v1.2.3', '٣٤٥ ½ Ⅷ ² ३', 'naïve café', 'nai\u0308ve cafe\u0301', 'q\u0323\u0307 q\u0307\u0323', 'a' + '\u0301'.repeat(45) + '\u0323b',
  '\u212b \u2126 \ufb01', '\u1112\u1161\u11ab한', 'ÀÉÎ straße ǆ', '日本語の文章', '中文，字符。', '한국어 단어', 'العربية لغة',
  'हिन्दी शब्द', 'ไทย', '😀', '👨‍👩‍👧 🇩🇪 👍🏽', '\u200b\u200d\ufeff', '\u0000\u0001\u007f', 'a\u0000b',
  'func merge(a, b part) part {\n\tif a.max < b.max {\n\t\treturn b\n\t}\n}', 'for (int i = 0; i < n; i++) { x[i] += 1; }',
  '#include <stdio.h>', 'https://example.org/a?b=c&d=%20#e', '{"key": ["value", 1.5, null]}', '!!!', '... --- ...', '-- a', '$5 €6 £7',
  'snake_case camelCase SCREAMING', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'ababababababababababababababa',
  '    '.repeat(20) + 'x', 'thethethethe', ' cluster', 'cluster',
  '<|im_start|>user\nHi<|im_end|>\n', '<|endoftext|>', 'a<|endoftext|>b', '<|begin_of_text|>x<|eot_id|>', '<|im_end|><|im_end|>', '<|im_end', '<|',
  '<think>\nhm\n</think>\n', 'x  <mask>  y', '<mask>', 'a <word> b', 'a<word>b', 'a<word> ', ' <word>b', '<word>', '<word><word> <word>', 'e\u0301<été>',
];

const added = (id, content, more = {}) =>
  ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...more });
const modern = (digits) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const byteLevel = (use_regex) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex });
const splitThenBytes = (regex) => ({
  type: 'Sequence',
  pretokenizers: [{ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false }, byteLevel(false)],
});

// Each kind: what it looks like in the file, and the words that get a token without a merge.
const kinds = {
  llama3: {
    merges: 300, pairs: true, whole: ['Ġcluster', 'thethe'], ignore_merges: true, normalizer: null,
    pre_tokenizer: splitThenBytes(modern('{1,3}')),
    added: ['<|begin_of_text|>', '<|eot_id|>'].map((c) => [c, {}]),
    post: (id) => ({
      type: 'Sequence',
      processors: [byteLevel(true), {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<|begin_of_text|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
        special_tokens: { '<|begin_of_text|>': { id: '<|begin_of_text|>', ids: [id('<|begin_of_text|>')], tokens: ['<|begin_of_text|>'] } },
      }],
    }),
  },
  qwen2: {
    merges: 300, pairs: false, whole: [], ignore_merges: false, normalizer: { type: 'NFC' },
    pre_tokenizer: splitThenBytes(modern('')),
    added: [['<|endoftext|>', {}], ['<|im_start|>', {}], ['<|im_end|>', {}], ['<think>', { special: false }], ['</think>', { special: false }]],
    post: () => byteLevel(false),
  },
  gpt2: {
    merges: 300, pairs: false, whole: [], ignore_merges: false, normalizer: null,
    pre_tokenizer: byteLevel(true),
    added: [['<|endoftext|>', {}], ['<mask>', { lstrip: true, normalized: true }], ['<word>', { single_word: true, rstrip: true, special: false }]],
    post: () => null,
  },
};

// alphabet lists the characters that stand for the 256 bytes.
function alphabet() {
  const chars = [];
  let next = 256;
  for (let b = 0; b < 256; b++) {
    const printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    chars.push(String.fromCodePoint(printable ? b : next++));
  }
  return chars;
}

// train learns merges by joining the most frequent pair, again and again; ties go to the pair that sorts first.
function train(pieces, count) {
  const words = pieces.map((p) => [...p]);
  const merges = [];
  while (merges.length < count) {
    const seen = new Map();
    for (const w of words)
      for (let i = 0; i + 1 < w.length; i++) {
        const key = `${w[i]} ${w[i + 1]}`;
        seen.set(key, (seen.get(key) ?? 0) + 1);
      }
    let best = null;
    for (const [key, n] of seen)
      if (best === null || n > seen.get(best) || (n === seen.get(best) && key < best)) best = key;
    if (best === null) break;
    const [a, b] = best.split(' ');
    merges.push([a, b]);
    for (const w of words)
      for (let i = 0; i + 1 < w.length; i++)
        if (w[i] === a && w[i + 1] === b) w.splice(i, 2, a + b);
  }
  return merges;
}

function build(kind) {
  const file = {
    version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: kind.normalizer,
    pre_tokenizer: kind.pre_tokenizer, post_processor: null, decoder: byteLevel(true),
    model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
      fuse_unk: false, byte_fallback: false, ignore_merges: kind.ignore_merges, vocab: {}, merges: [] },
  };
  const pieces = Tokenizer.fromString(JSON.stringify(file)).getPreTokenizer().preTokenizeString(corpus).map(([p]) => p);
  const merges = train(pieces, kind.merges);
  let id = 0;
  for (const t of [...alphabet(), ...merges.map(([a, b]) => a + b), ...kind.whole])
    if (!(t in file.model.vocab)) file.model.vocab[t] = id++;
  file.model.merges = kind.pairs ? merges : merges.map((m) => m.join(' '));
  file.added_tokens = kind.added.map(([content, more]) => added(id++, content, more));
  file.post_processor = kind.post((content) => file.added_tokens.find((t) => t.content === content).id);
  return JSON.stringify(file);
}

async function golden(json) {
  const t = Tokenizer.fromString(json);
  const normalizer = t.getNormalizer();
  const cases = [];
  for (const text of texts) {
    const ids = (await t.encode(text, null, { addSpecialTokens: false })).getIds();
    const prompt = (await t.encode(text, null, { addSpecialTokens: true })).getIds();
    const normal = normalizer ? normalizer.normalizeString(text) : text;
    cases.push({
      text,
      pieces: t.getPreTokenizer().preTokenizeString(normal).map(([p]) => p),
      ids, prompt,
      decoded: await t.decode(ids, false),
      visible: await t.decode(ids, true),
    });
  }
  return '[\n' + cases.map((c) => JSON.stringify(c)).join(',\n') + '\n]\n';
}

(async () => {
  fs.mkdirSync(out, { recursive: true });
  for (const [name, kind] of Object.entries(kinds)) {
    const json = build(kind);
    fs.writeFileSync(path.join(out, `${name}.json`), json + '\n');
    fs.writeFileSync(path.join(out, `${name}.golden.json`), await golden(json));
  }
  const recall = fs.readFileSync(path.join(root, 'recall', 'model', 'tokenizer.json'), 'utf8');
  fs.writeFileSync(path.join(out, 'recall.golden.json'), await golden(recall));
})();
