// Just enough of SQLite's file format to make and spoil database files without SQLite at hand.
import fs from 'node:fs';

const PAGE = 4096;

// A sound database that is not Encke's: one table of notes.
export function foreignDatabase({ applicationId = 0, userVersion = 0 } = {}) {
  const file = Buffer.alloc(2 * PAGE);
  file.write('SQLite format 3\0', 0, 'latin1');
  file.writeUInt16BE(PAGE, 16);
  file.set([1, 1, 0, 64, 32, 32], 18);
  file.writeUInt32BE(1, 24); // change counter
  file.writeUInt32BE(2, 28); // pages
  file.writeUInt32BE(1, 40); // schema cookie
  file.writeUInt32BE(4, 44); // schema format
  file.writeUInt32BE(1, 56); // UTF-8
  file.writeUInt32BE(userVersion, 60);
  file.writeUInt32BE(applicationId, 68);
  file.writeUInt32BE(1, 92); // version valid for
  file.writeUInt32BE(3040001, 96);
  const texts = ['table', 'notes', 'notes'].map((s) => Buffer.from(s)),
    sql = Buffer.from('CREATE TABLE notes(text)');
  const record = Buffer.concat([
    Buffer.from([6, ...texts.map((s) => 13 + 2 * s.length), 1, 13 + 2 * sql.length]),
    ...texts,
    Buffer.from([2]),
    sql,
  ]);
  const cell = Buffer.concat([Buffer.from([record.length, 1]), record]);
  const at = PAGE - cell.length;
  cell.copy(file, at);
  leaf(file, 100, 1, at);
  file.writeUInt16BE(at, 108);
  leaf(file, PAGE, 0, PAGE);
  return file;
}

function leaf(file, at, cells, content) {
  file[at] = 0x0d;
  file.writeUInt16BE(cells, at + 3);
  file.writeUInt16BE(content, at + 5);
}

export const setUserVersion = (file, version) => {
  file.writeInt32BE(version, 60);
  return file;
};
export const setApplicationId = (file, id) => {
  file.writeUInt32BE(id, 68);
  return file;
};
export const userVersion = (file) => file.readInt32BE(60);

// The database file alone, as it is after a clean stop: everything must be in it.
export function settled(db) {
  for (const suffix of ['-wal', '-journal']) {
    const beside = `${db}${suffix}`;
    if (fs.existsSync(beside) && fs.statSync(beside).size > 0)
      throw new Error(`${beside} is not empty after a clean stop`);
  }
  return fs.readFileSync(db);
}
