// A little test runner: checks run one after the other, each with a time limit.

const checks = [];

exports.check = (name, run) => checks.push({ name, run });

exports.run = async () => {
  for (const { name, run } of checks) {
    let timer;
    const limit = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("took more than 120 s")), 120_000);
    });
    try {
      await Promise.race([run(), limit]);
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`FAILED ${name}\n${error.stack}`);
      process.exit(1);
    } finally {
      clearTimeout(timer);
    }
  }
  console.log(`${checks.length} checks passed`);
  process.exit(0);
};

// Resolves with the arguments of the next event of this name.
exports.next = (emitter, event) =>
  new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
