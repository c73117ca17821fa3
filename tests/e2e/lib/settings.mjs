// What whoever runs the tests says about them, in variables of the environment. They are taken out of
// it: the daemon refuses a variable that looks like an option and is none.
function take(name) {
  const value = process.env[name];
  delete process.env[name];
  return value || undefined;
}

export const settings = {
  bin: take('ENCKE_BIN'), // the daemon to test
  plainBin: take('ENCKE_PLAIN_BIN'), // the one without sanitizers
  shims: take('ENCKE_SHIMS'), // where the libraries are that are preloaded into it
  seed: take('ENCKE_SEED'), // repeats a run with random numbers
  fuzz: take('ENCKE_FUZZ'), // how many connections streams_fuzz makes
};
