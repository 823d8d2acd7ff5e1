// BullMQ: addBulk(), and a worker with a concurrency. Modes, options and output as in rival.h.

import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const warmUpJobs = 100;
const idleMax = 2;
const firstJobMax = 15;
// The guide's own example; the jobs of one worker wait for Redis together.
const concurrency = 50;

// hrtime is CLOCK_MONOTONIC, as in the other clients.
const now = () => Number(process.hrtime.bigint()) / 1e9;
const makePayload = (number) =>
  `${String(process.hrtime.bigint()).padStart(19, '0')} ${String(number).padStart(9, '0')} `
    .padEnd(100, 'x');
const millisecondsSinceStamp = (payload) =>
  Number(process.hrtime.bigint() - BigInt(payload.slice(0, 19))) / 1e6;

function quantiles(values) {
  if (values.length === 0) throw new Error('no job was measured');
  values.sort((a, b) => a - b);
  const at = (q) => values[Math.round((values.length - 1) * q)];
  return { jobs: values.length, p50: at(0.5), p99: at(0.99), 'p99.9': at(0.999) };
}

function readOptions() {
  const options = { mode: process.argv[2], jobs: 1000, batch: 100, seconds: 1e9, pace: 2 };
  for (let i = 3; i + 1 < process.argv.length; i += 2) {
    const name = process.argv[i].slice(2);
    options[name] = name === 'setting' ? process.argv[i + 1] : Number(process.argv[i + 1]);
  }
  return options;
}

const options = readOptions();
const connection = new Redis({ host: '127.0.0.1', port: options.port, maxRetriesPerRequest: null });

async function enqueueBatches(enqueue) {
  let jobs = 0;
  const begin = now();
  while (jobs < options.jobs && now() - begin < options.seconds) {
    const count = Math.min(options.batch, options.jobs - jobs);
    await enqueue(Array.from({ length: count }, () => makePayload(jobs++)));
  }
  return { jobs, begin, end: now() };
}

async function enqueueSingly(enqueue) {
  const acknowledged = [];
  const begin = now();
  while (acknowledged.length < options.jobs && now() - begin < options.seconds) {
    const payload = makePayload(acknowledged.length);
    await enqueue([payload]);
    acknowledged.push(millisecondsSinceStamp(payload));
  }
  return quantiles(acknowledged);
}

async function enqueuePaced(enqueue) {
  let jobs = 0;
  const begin = now();
  for (let due = begin; jobs < options.jobs && now() - begin < options.seconds;
       due += options.pace / 1e3) {
    if (due > now()) await sleep((due - now()) * 1e3);
    await enqueue([makePayload(jobs++)]);
  }
  return { jobs, begin, end: now() };
}

async function produce(measure) {
  const queue = new Queue('jobs', { connection });
  await queue.waitUntilReady();
  return measure(async (payloads) => {
    const jobs = payloads.map((payload) =>
      ({ name: 'job', data: { payload }, opts: { removeOnComplete: true } }));
    if (jobs.length > 1) await queue.addBulk(jobs);
    else await queue.add(jobs[0].name, jobs[0].data, jobs[0].opts);
  });
}

async function work() {
  const latencies = [];
  let completed = 0;
  let last = 0;
  const worker = new Worker('jobs', async (job) => {
    latencies.push(millisecondsSinceStamp(job.data.payload));
  }, { connection, concurrency, autorun: false });
  // Sent when Redis has answered that the job is completed.
  worker.on('completed', () => { completed++; last = now(); });
  await worker.waitUntilReady();
  console.log('ready');
  for await (const line of createInterface({ input: process.stdin })) { void line; break; }
  const begin = now();
  worker.run();
  const idle = () => completed > 0 ? now() - last > idleMax : now() - begin > firstJobMax;
  while (!idle()) await sleep(50);
  if (options.mode === 'latency') return quantiles(latencies.slice(warmUpJobs));
  return { jobs: completed, begin, end: last || begin };
}

const producers = { enqueue: enqueueBatches, single: enqueueSingly, paced: enqueuePaced };
const report = options.mode in producers ? await produce(producers[options.mode]) : await work();
console.log(JSON.stringify(report));
process.exit(0);
