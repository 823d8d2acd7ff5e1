#!/usr/bin/env python3
"""Options, environment, configuration file, help, refusals: what holds before any broker is met."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import BIN, Finished  # noqa: E402

PROGRAMS = ("millrace-broker", "millrace-worker", "millrace-producer")
# Nobody listens there, so a command line that is taken too early shows as 69.
NOBODY = "tcp://127.0.0.1:1"


class Programs(millrace_testing.Case):
    def run_program(self, name, *words, **keywords):
        process = self.start([BIN / name, *words], **keywords)
        return Finished(process.wait(), process.out, process.err)

    def test_help_goes_to_stdout_and_names_every_option(self):
        options = {
            "millrace-broker": "listen db config retention min-free log-level help version",
            "millrace-worker": "broker queue io-threads cpu-threads until grace name allow-net"
                               " config help version",
            "millrace-producer": "broker config output reconnect help version",
        }
        for name in PROGRAMS:
            for flag in ("--help", "-h"):
                with self.subTest(program=name, flag=flag):
                    done = self.run_program(name, flag)
                    self.assertEqual((done.code, done.err), (0, ""), done)
                    for option in options[name].split():
                        self.assertIn(f"--{option}", done.out)

    def test_version_is_one_line_on_stdout(self):
        for name in PROGRAMS:
            with self.subTest(program=name):
                done = self.run_program(name, "--version")
                self.assertEqual((done.code, done.err), (0, ""), done)
                self.assertRegex(done.out, rf"\A{name} \d+\.\d+\.\d+\n\Z")

    def test_an_unknown_option_is_a_usage_error_that_names_it(self):
        for name in PROGRAMS:
            with self.subTest(program=name):
                done = self.run_program(name, "--no-such-thing")
                self.assertEqual((done.code, done.out), (64, ""), done)
                self.assertIn("--no-such-thing", done.err)
                self.assertIn(f"{name} --help", done.err)

    def test_a_near_miss_gets_a_suggestion(self):
        for name, word, meant in (("millrace-broker", "--retension", "--retention"),
                                  ("millrace-worker", "--io-thread", "--io-threads"),
                                  ("millrace-producer", "enqeue", "enqueue")):
            with self.subTest(word=word):
                done = self.run_program(name, word)
                self.assertEqual(done.code, 64, done)
                self.assertIn(f"did you mean `{meant}`", done.err)

    def test_a_value_that_cannot_be_is_a_usage_error_that_names_option_and_value(self):
        cases = (
            ("millrace-broker", "--retention", "soon"),
            ("millrace-broker", "--min-free", "much"),
            ("millrace-broker", "--listen", "nonsense"),
            ("millrace-broker", "--listen", "tcp://127.0.0.1"),
            ("millrace-broker", "--log-level", "loud"),
            ("millrace-worker", "--io-threads", "many"),
            ("millrace-worker", "--io-threads", "100000"),
            ("millrace-worker", "--until", "tomorrow"),
            ("millrace-worker", "--queue", "No Name"),
            ("millrace-worker", "--grace", "-1s"),
            ("millrace-worker", "--broker", "nonsense"),
            ("millrace-worker", "--allow-net", "everywhere"),
            ("millrace-worker", "--log-level", "loud"),
        )
        for name, option, value in cases:
            with self.subTest(program=name, option=option, value=value):
                done = self.run_program(name, option, value)
                self.assertEqual((done.code, done.out), (64, ""), done)
                self.assertIn(value if option != "--io-threads" or value == "many" else option,
                              done.err)

    def test_a_worker_without_any_thread_is_refused(self):
        done = self.run_program("millrace-worker", "--io-threads", "0", "--cpu-threads", "0")
        self.assertEqual(done.code, 64, done)

    def test_a_bad_environment_is_a_configuration_error_that_names_the_variable(self):
        for name, variable, value in (("millrace-broker", "MILLRACE_RETENTION", "soon"),
                                      ("millrace-worker", "MILLRACE_GRACE", "long"),
                                      ("millrace-producer", "MILLRACE_RECONNECT", "never")):
            with self.subTest(variable=variable):
                words = ["status"] if name == "millrace-producer" else []
                done = self.run_program(name, *words, environment={variable: value})
                self.assertEqual((done.code, done.out), (78, ""), done)
                self.assertIn(variable, done.err)
                self.assertIn(value, done.err)

    def test_a_bad_configuration_file_is_refused_with_its_place(self):
        cases = {
            "retention = \"soon\"\n": "soon",
            "# a comment\nretentoin = \"7d\"\n": "retentoin",
            "listen = [\n": "",
            "[limits]\nno_such_limit = 5\n": "no_such_limit",
        }
        for number, (text, word) in enumerate(cases.items()):
            with self.subTest(text=text):
                file = self.file(f"bad{number}.toml", text)
                done = self.run_program("millrace-broker", "--config", file)
                self.assertEqual((done.code, done.out), (78, ""), done)
                self.assertRegex(done.err, rf"bad{number}\.toml:\d+.*{word}")

    def test_a_configuration_file_that_is_missing_is_a_configuration_error(self):
        for name in PROGRAMS:
            with self.subTest(program=name):
                words = ["status"] if name == "millrace-producer" else []
                done = self.run_program(name, "--config", "missing.toml", *words)
                self.assertEqual((done.code, done.out), (78, ""), done)
                self.assertIn("missing.toml", done.err)


class ProducerUsage(millrace_testing.Case):
    def refused(self, *words, code=64, stdin=None):
        done = self.producer(NOBODY, *words, stdin=stdin)
        self.assertEqual((done.code, done.out), (code, ""), done)
        self.assertTrue(done.err.startswith("millrace-producer: "), done)
        return done.err

    def test_no_command_lists_the_commands(self):
        text = self.refused()
        for command in ("enqueue", "urls", "primes", "results", "close", "open", "replay", "queue",
                        "job", "batch", "worker", "status"):
            self.assertIn(command, text)
        for group, command in (("queue", "purge"), ("job", "redrive"), ("batch", "show"),
                               ("worker", "ls")):
            self.assertIn(command, self.refused(group))

    def test_every_command_has_a_help(self):
        for words in ("enqueue", "urls", "primes", "results", "close", "open", "replay", "queue ls",
                      "queue show", "queue pause", "queue resume", "queue purge", "job ls",
                      "job show", "job cancel", "job redrive", "batch ls", "batch show",
                      "worker ls", "status"):
            with self.subTest(command=words):
                done = self.producer(NOBODY, *words.split(), "--help")
                self.assertEqual((done.code, done.err), (0, ""), done)
                self.assertRegex(done.out, rf"Usage: millrace-producer {words}\b")

    def test_a_missing_argument_is_named(self):
        for words, name in (("enqueue", "KIND"), ("urls", "FILE"), ("primes", "FROM"),
                            ("primes 1", "TO"), ("results", "BATCH"), ("close", "QUEUE"),
                            ("open", "QUEUE"), ("queue show", "QUEUE"), ("job show", "ID"),
                            ("batch show", "ID")):
            with self.subTest(command=words):
                self.assertIn(name, self.refused(*words.split()))

    def test_a_bad_argument_is_named_before_any_broker_is_asked(self):
        cases = (
            (("enqueue", "Bad Kind"), "Bad Kind"),
            (("enqueue", "echo", "1", "2"), "2"),
            (("enqueue", "echo", "--queue", "UPPER"), "UPPER"),
            (("enqueue", "echo", "--queue", "a" * 65), "a" * 65),
            (("enqueue", "echo", "--queue", ""), "queue"),
            (("enqueue", "echo", "--priority", "256"), "256"),
            (("enqueue", "echo", "--priority", "-1"), "-1"),
            (("enqueue", "echo", "--priority", "high"), "high"),
            (("enqueue", "echo", "--max-attempts", "0"), "0"),
            (("enqueue", "echo", "--delay", "later"), "later"),
            (("enqueue", "echo", "--at", "noon"), "noon"),
            (("enqueue", "echo", "--at", "2031-02-30"), "2031-02-30"),
            (("enqueue", "echo", "--delay", "1s", "--at", "2031-01-01"), "--at"),
            (("enqueue", "echo", "--timeout", "5"), "5"),
            (("urls", "/dev/null", "--queue", "no/slash"), "no/slash"),
            (("urls", "/dev/null", "--timeout", "0"), "--timeout"),
            (("urls", "/dev/null", "--redirects", "-1"), "-1"),
            (("urls", "/dev/null", "--max-attempts", "0"), "--max-attempts"),
            (("primes", "10", "1"), "10"),
            (("primes", "one", "2"), "one"),
            (("primes", "1", "99999999999999999999"), "99999999999999999999"),
            (("primes", "1", "10", "--chunk", "x"), "x"),
            (("results", "first"), "first"),
            (("results", "0"), "0"),
            (("results", "1", "--from", "x"), "x"),
            (("close", "Default"), "Default"),
            (("open", "Default"), "Default"),
            (("queue", "show", "Default"), "Default"),
            (("queue", "purge", "Default"), "Default"),
            (("job", "show", "x"), "x"),
            (("job", "cancel"), "--queue"),
            (("job", "cancel", "x"), "x"),
            (("job", "redrive"), "--queue"),
            (("job", "ls", "--state", "happy"), "happy"),
            (("batch", "show", "-5"), "-5"),
            (("replay",), "--id"),
            (("replay", "--dry-run"), "--id"),
            (("replay", "--state", "ready"), "ready"),
            (("replay", "--state", "happy"), "happy"),
            (("replay", "--since", "yesterday"), "yesterday"),
            (("status", "--output", "xml"), "xml"),
            (("--broker", "nonsense", "status"), "nonsense"),
        )
        for words, part in cases:
            with self.subTest(command=words):
                self.assertIn(part, self.refused(*words))

    def test_a_payload_that_is_no_json_is_bad_data(self):
        for payload in ("{bad", "", "nan", "{\"a\":1} x", "'single'"):
            with self.subTest(payload=payload):
                self.assertIn("JSON", self.refused("enqueue", "echo", payload, code=65))

    def test_a_list_that_is_missing_is_no_input(self):
        self.assertIn("missing.txt", self.refused("urls", "missing.txt", code=66))
        self.assertIn(str(self.folder), self.refused("urls", self.folder, code=66))

    def test_without_a_broker_it_says_so_within_five_seconds(self):
        started = millrace_testing.now()
        done = self.producer(NOBODY, "enqueue", "echo", "1")
        elapsed = millrace_testing.now() - started
        self.assertEqual((done.code, done.out), (69, ""), done)
        self.assertIn(NOBODY, done.err)
        self.assertIn("millrace-broker", done.err)
        self.assertLess(elapsed, 6.5)


class Sources(millrace_testing.Case):
    """Flags stand above the environment, and that above the configuration file."""

    def test_global_options_stand_before_or_after_the_command(self):
        broker = self.broker()
        for words in (["--broker", broker.endpoint, "--output", "jsonl", "status"],
                      ["status", "--broker", broker.endpoint, "--output", "jsonl"],
                      [f"--broker={broker.endpoint}", "status", "--output=jsonl"],
                      ["--output", "jsonl", "worker", "--broker", broker.endpoint, "ls"],
                      ["worker", "ls", "--output", "jsonl", "--broker", broker.endpoint]):
            with self.subTest(words=words):
                done = self.good(NOBODY, *words)
                self.assertEqual(done.out[:1], "{" if "status" in words else "")

    def test_flag_above_environment_above_file(self):
        broker = self.broker()
        file = self.file("c.toml", f'broker = "{NOBODY}"\noutput = "json"\n')
        # The environment's broker wins over the file's, and the file's output over the default.
        done = self.good(broker, "--config", file, "queue", "ls")
        self.assertEqual(done.json(), [])
        done = self.good(broker, "--config", file, "status", "--output", "jsonl")
        self.assertEqual(len(done.rows()), 1)
        # A flag wins over the environment.
        done = self.good(NOBODY, "status", "--broker", broker.endpoint, "--output", "json")
        self.assertEqual(len(done.json()), 1)

    def test_a_command_has_its_own_table_in_the_file(self):
        broker = self.broker()
        file = self.file("c.toml", '[enqueue]\nqueue = "mail"\npriority = 7\n')
        done = self.good(broker, "enqueue", "echo", "--output", "jsonl",
                         environment={"MILLRACE_CONFIG": str(file)})
        job = broker.job(done.rows()[0]["ids"][0])
        self.assertEqual((job["queue"], job["priority"]), ("mail", 7))
        self.good(broker, "--config", file, "queue", "ls")

    def test_options_of_commands_come_from_the_environment_too(self):
        broker = self.broker()
        done = self.good(broker, "enqueue", "echo", "--output", "jsonl",
                         environment={"MILLRACE_QUEUE": "env", "MILLRACE_PRIORITY": "3",
                                      "MILLRACE_MAX_ATTEMPTS": "9"})
        job = broker.job(done.rows()[0]["ids"][0])
        self.assertEqual((job["queue"], job["priority"]), ("env", 3))

    def test_a_broker_is_configured_by_file_and_environment(self):
        file = self.file("broker.toml", 'retention = "1h"\nlisten = "tcp://127.0.0.1:1"\n'
                                        '[limits]\npayload_bytes_max = 100\n')
        broker = self.broker(environment={"MILLRACE_CONFIG": str(file)})
        done = self.producer(broker, "enqueue", "echo", '"' + "x" * 100 + '"')
        self.assertEqual((done.code, done.out), (65, ""), done)
        self.assertIn("102", done.err)
        self.assertIn("100", done.err)
        self.good(broker, "enqueue", "echo", '"' + "x" * 98 + '"')

    def test_a_broker_without_options_uses_its_working_directory(self):
        done = self.start([BIN / "millrace-broker"],
                          environment={"MILLRACE_LISTEN": "tcp://127.0.0.1:*"})
        done.wait_for_line(r"^ready tcp://127\.0\.0\.1:\d+$")
        self.assertTrue((self.folder / "millrace.db").is_file())
        done.signal(15)
        self.assertEqual(done.wait(), 0)

    def test_a_worker_is_configured_by_file_and_environment(self):
        broker = self.broker()
        file = self.file("worker.toml", 'queue = ["a", "b"]\nname = "from-file"\nio_threads = 3\n')
        self.worker(broker, "--cpu-threads", "1",
                    environment={"MILLRACE_CONFIG": str(file), "MILLRACE_NAME": "from-env"})
        (row,) = self.good(broker, "worker", "ls", "--output", "jsonl").rows()
        self.assertEqual((row["name"], row["queues"], row["pools"]),
                         ("from-env", ["a", "b"], {"cpu": 1, "io": 3}))

    def test_an_ipc_endpoint_serves_too(self):
        broker = self.broker(listen=f"ipc://{self.folder}/mr.sock")
        self.worker(broker)
        done = self.good(broker, "primes", "1", "100")
        self.assertEqual(done.out, "25\n")
        self.assertTrue(re.match(r"ipc://", broker.endpoint))


if __name__ == "__main__":
    millrace_testing.main()
