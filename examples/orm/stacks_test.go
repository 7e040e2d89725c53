package orm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
)

// stack is an ORM or a driver, and its folder.
type stack struct {
	folder string
	// library is a command that fails where the stack is not installed; nil where the build finds it
	// out. Its last argument loads the packages that the programs use.
	library []string
	// run returns the commands of the programs.
	run func(s stack, steps ...step) []*exec.Cmd
	// tools is set when the stack has a program for its schema tools.
	tools bool
	// classpath has the names of Java's jars, as Debian has them.
	classpath []string
}

// step is the program main or tools, and the database that it runs on.
type step struct{ program, address string }

var stacks = slices.Concat(
	each(stack{run: python, tools: true}, "python/django", "python/sqlalchemy"),
	each(stack{run: python}, "python/peewee", "python/pony", "python/psycopg", "python/asyncpg"),
	each(stack{run: ruby, tools: true}, "ruby/activerecord", "ruby/sequel"),
	each(stack{run: node, tools: true}, "node/sequelize", "node/typeorm", "node/drizzle", "node/prisma", "node/mikroorm"),
	each(stack{run: node}, "node/objection", "node/kysely", "node/slonik", "node/postgresjs"),
	each(stack{run: apart(golang), tools: true}, "go/gorm"),
	each(stack{run: apart(golang)}, "go/bun", "go/xorm", "go/sqlx"),
	each(stack{run: java}, "java/jdbc"),
	each(stack{run: java, classpath: []string{"spring3-core", "spring3-beans", "spring3-jdbc", "spring3-transaction", "commons-logging"}}, "java/spring"),
	each(stack{run: java, tools: true, classpath: []string{
		"hibernate3", "hibernate-commons-annotations", "geronimo-jpa_2.0_spec", "geronimo-jta-1.2-spec", "dom4j", "antlr",
		"commons-collections3", "javassist", "slf4j-api", "slf4j-nop",
	}}, "java/hibernate"),
	each(stack{run: java, classpath: []string{
		"eclipselink", "eclipselink-jpa-2.1-spec", "org.eclipse.persistence.jpa.jpql", "geronimo-jta-1.2-spec",
	}}, "java/eclipselink"),
	each(stack{run: apart(php), tools: true}, "php/doctrine", "php/eloquent"),
	each(stack{run: apart(php)}, "php/pdo"),
	each(stack{run: apart(perl)}, "perl/dbixclass"),
)

// libraries are what the interpreters must find.
var libraries = map[string][]string{
	"python/django":     {"/usr/bin/python3", "-c", "import django.contrib.postgres.fields, django.core.management, django.db.backends.postgresql.base, psycopg2"},
	"python/sqlalchemy": {"/usr/bin/python3", "-c", "import sqlalchemy.orm, sqlalchemy.dialects.postgresql, alembic.autogenerate, alembic.migration, psycopg2"},
	"python/peewee":     {"/usr/bin/python3", "-c", "import playhouse.db_url, playhouse.postgres_ext, psycopg2"},
	"python/pony":       {"/usr/bin/python3", "-c", "import pony, psycopg2"},
	"python/psycopg":    {"/usr/bin/python3", "-c", "import psycopg"},
	"python/asyncpg":    {"/usr/bin/python3", "-c", "import asyncpg"},
	"ruby/activerecord": {"ruby", "-e", "require 'active_record'; ActiveRecord.eager_load!; require 'pg'"},
	"ruby/sequel":       {"ruby", "-e", "require 'sequel'; require 'pg'"},
	"php/doctrine":      {"php", "-r", "require 'Doctrine/ORM/autoload.php'; require 'Symfony/Component/Cache/autoload.php';"},
	"php/eloquent":      {"php", "-r", "require 'Illuminate/Database/autoload.php';"},
	"php/pdo":           {"php", "-r", "exit(extension_loaded('pdo_pgsql') ? 0 : 1);"},
	"perl/dbixclass":    {"perl", "-MDBIx::Class", "-MDBD::Pg", "-e", "1"},
}

func each(like stack, folders ...string) []stack {
	var all []stack
	for _, folder := range folders {
		s := like
		s.folder, s.library = folder, libraries[folder]
		all = append(all, s)
	}
	return all
}

// missing skips the test, and fails it in CI.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, but "+format, args...)
	}
	t.Skipf(format, args...)
}

// mustBeThere skips the test of a stack that is not installed, and fails it in CI.
func (s stack) mustBeThere(t *testing.T) {
	t.Helper()
	if s.library != nil {
		if out, err := exec.Command(s.library[0], s.library[1:]...).CombinedOutput(); err != nil {
			missing(t, "%s is not installed: %v\n%s", s.folder, err, out)
		}
	}
	if s.language() == "java" {
		if err := s.jarMissing(); err != nil {
			missing(t, "%v", err)
		}
	}
}

func (s stack) jarMissing() error {
	for _, jar := range strings.Split(s.jars(), ":") {
		if _, err := os.Stat(jar); err != nil {
			return err
		}
	}
	return nil
}

func (s stack) language() string { return filepath.Dir(s.folder) }

func (s stack) name() string { return filepath.Base(s.folder) }

// apart runs each program in a process of its own.
func apart(run func(s stack, step step) *exec.Cmd) func(stack, ...step) []*exec.Cmd {
	return func(s stack, steps ...step) (commands []*exec.Cmd) {
		for _, step := range steps {
			commands = append(commands, run(s, step))
		}
		return commands
	}
}

// python and ruby load packages once, and run each program in a copy of the process that has.
func python(s stack, steps ...step) []*exec.Cmd {
	env := []string{"PYTHONPATH=" + abs("python"), "PYTHONDONTWRITEBYTECODE=1"}
	return []*exec.Cmd{command(s.folder, env, "/usr/bin/python3", several("../several.py", s, steps)...)}
}

func ruby(s stack, steps ...step) []*exec.Cmd {
	return []*exec.Cmd{command(s.folder, nil, "ruby", several("../several.rb", s, steps)...)}
}

func several(runs string, s stack, steps []step) []string {
	args := []string{runs, s.library[len(s.library)-1]}
	for _, step := range steps {
		args = append(args, step.program, step.address)
	}
	return args
}

func php(s stack, step step) *exec.Cmd {
	return command(s.folder, nil, "php", step.program+".php", step.address)
}

func perl(s stack, step step) *exec.Cmd {
	return command(s.folder, []string{"PERL5LIB=" + abs("perl")}, "perl", step.program+".pl", step.address)
}

func golang(s stack, step step) *exec.Cmd {
	args := []string{step.address}
	if step.program != "main" {
		args = append(args, step.program)
	}
	return command(s.folder, nil, filepath.Join(kept("go"), s.name()), args...)
}

// node and java run all programs in one process: most of their time is the loading of packages.
func node(s stack, steps ...step) []*exec.Cmd {
	args := []string{"--import", "tsx", "../several.mjs"}
	for _, step := range steps {
		args = append(args, step.program, step.address)
	}
	return []*exec.Cmd{command(s.folder, nil, "node", args...)}
}

func java(s stack, steps ...step) []*exec.Cmd {
	args := append(slices.Clone(shortLived), "-cp", filepath.Join(kept("java"), s.name())+":"+abs(s.folder)+":"+s.jars(), "Several")
	for _, step := range steps {
		args = append(args, strings.ToUpper(step.program[:1])+step.program[1:], jdbc(step.address))
	}
	return []*exec.Cmd{command(s.folder, nil, "java", args...)}
}

// shortLived has a JVM compile quickly, not well, and start no threads for its garbage.
var shortLived = []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}

func command(folder string, env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

func abs(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		panic(err) // there is no working directory
	}
	return path
}

// jdbc is the address as Java's driver reads it.
func jdbc(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err) // it was made by url.URL
	}
	password, _ := u.User.Password()
	query := url.Values{"user": {u.User.Username()}, "password": {password}, "sslmode": {"disable"}}
	return "jdbc:postgresql://" + u.Host + u.Path + "?" + query.Encode()
}

func (s stack) jars() string {
	var jars []string
	for _, name := range append([]string{"postgresql"}, s.classpath...) {
		jars = append(jars, "/usr/share/java/"+name+".jar")
	}
	return strings.Join(jars, ":")
}

// builds make the programs of all stacks of a language.
var builds = map[string]func() error{"go": goBuild, "java": javac, "node": nodeModules}

// kept returns the folder for the programs of a language. The next run of this checkout's tests
// finds it, and builds those programs alone that have changed.
func kept(language string) string {
	sum := sha256.Sum256([]byte(abs(".")))
	return filepath.Join(os.TempDir(), fmt.Sprintf("outcrier-built-%d-%x", os.Getuid(), sum[:6]), language)
}

// onceFor calls do, but not when it has succeeded before with files of the same content. The file
// stamp, in the folder that do fills, remembers them.
func onceFor(stamp string, files []string, do func() error) error {
	sum := sha256.New()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sum.Write(content)
	}
	is := hex.EncodeToString(sum.Sum(nil))
	if was, err := os.ReadFile(stamp); err == nil && string(was) == is {
		return nil
	}
	if err := do(); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(is), 0o600)
}

// errMissing is the error of a build whose tools are not installed.
var errMissing = errors.New("not installed")

// goBuild leaves programs as they are that are up to date.
func goBuild() error {
	build := testkit.Go("build", "-ldflags=-s -w", "-o", kept("go")+"/", "./bun", "./gorm", "./sqlx", "./xorm")
	build.Dir = "go"
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// javac compiles, in one JVM, all stacks whose jars are there.
func javac() error {
	compiler, err := exec.LookPath("javac")
	if err != nil {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	args := append(slices.Clone(shortLived), "java/Build.java")
	files := []string{compiler, "java/Build.java", "java/Scenes.java", "java/Several.java"}
	for _, s := range stacks {
		if s.language() != "java" || s.jarMissing() != nil {
			continue
		}
		sources, err := filepath.Glob(s.folder + "/*.java")
		if err != nil {
			return err
		}
		if len(args) > len(shortLived)+1 {
			args = append(args, "--")
		}
		args = append(args, "-proc:none", "-cp", s.jars(), "-d", filepath.Join(kept("java"), s.name()), "java/Scenes.java", "java/Several.java")
		args = append(args, sources...)
		files = slices.Concat(files, sources, strings.Split(s.jars(), ":"))
	}
	return onceFor(kept("java")+"/made", files, func() error {
		if err := os.RemoveAll(kept("java")); err != nil {
			return err
		}
		if out, err := exec.Command("java", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("javac: %w\n%s", err, out)
		}
		return nil
	})
}

// nodeModules installs what package-lock.json names, and makes Prisma's client.
func nodeModules() error {
	err := onceFor("node/node_modules/.lock", []string{"node/package-lock.json"}, func() error {
		install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
		install.Dir = "node"
		if out, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: npm ci: %w\n%s", errMissing, err, out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	of := []string{"node/package-lock.json", "node/prisma/schema.prisma", "node/prisma/prisma.config.ts"}
	return onceFor("node/prisma/generated/.made", of, func() error {
		// Prisma's command would fetch an engine that "generate" doesn't run.
		generate := command("node/prisma", []string{"PRISMA_SCHEMA_ENGINE_BINARY=/bin/true", "CHECKPOINT_DISABLE=1"}, abs("node/node_modules/.bin/prisma"), "generate")
		if out, err := generate.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: prisma generate: %w\n%s", errMissing, err, out)
		}
		return nil
	})
}
