package orm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// stack is an ORM or a driver, and its folder.
type stack struct {
	folder string
	// ready is a command that fails where the stack is not installed; nil when build finds it out.
	ready []string
	// build makes what run needs, in this folder, which is the test's own.
	build func(t *testing.T, s stack, into string)
	// run returns the command of the program main or tools.
	run func(s stack, program, built, address string) *exec.Cmd
	// tools is set when the stack has a program for its schema tools.
	tools bool
	// classpath has the names of Java's jars, as Debian has them.
	classpath []string
}

var stacks = slices.Concat(
	each(stack{run: python, tools: true}, "python/django", "python/sqlalchemy"),
	each(stack{run: python}, "python/peewee", "python/pony", "python/psycopg", "python/asyncpg"),
	each(stack{run: ruby, tools: true}, "ruby/activerecord", "ruby/sequel"),
	each(stack{build: nodeModules, run: node, tools: true}, "node/sequelize", "node/typeorm", "node/drizzle", "node/prisma", "node/mikroorm"),
	each(stack{build: nodeModules, run: node}, "node/objection", "node/kysely", "node/slonik", "node/postgresjs"),
	each(stack{build: goBuild, run: golang, tools: true}, "go/gorm"),
	each(stack{build: goBuild, run: golang}, "go/bun", "go/xorm", "go/sqlx"),
	each(stack{build: javac, run: java}, "java/jdbc"),
	each(stack{build: javac, run: java, classpath: []string{"spring3-core", "spring3-beans", "spring3-jdbc", "spring3-transaction", "commons-logging"}}, "java/spring"),
	each(stack{build: javac, run: java, tools: true, classpath: []string{
		"hibernate3", "hibernate-commons-annotations", "geronimo-jpa_2.0_spec", "geronimo-jta-1.2-spec", "dom4j", "antlr",
		"commons-collections3", "javassist", "slf4j-api", "slf4j-nop",
	}}, "java/hibernate"),
	each(stack{build: javac, run: java, classpath: []string{
		"eclipselink", "eclipselink-jpa-2.1-spec", "org.eclipse.persistence.jpa.jpql", "geronimo-jta-1.2-spec",
	}}, "java/eclipselink"),
	each(stack{run: php, tools: true}, "php/doctrine", "php/eloquent"),
	each(stack{run: php}, "php/pdo"),
	each(stack{run: perl}, "perl/dbixclass"),
)

// libraries are what the interpreters must find.
var libraries = map[string][]string{
	"python/django":     {"/usr/bin/python3", "-c", "import django, psycopg2"},
	"python/sqlalchemy": {"/usr/bin/python3", "-c", "import sqlalchemy, alembic, psycopg2"},
	"python/peewee":     {"/usr/bin/python3", "-c", "import peewee, psycopg2"},
	"python/pony":       {"/usr/bin/python3", "-c", "import pony, psycopg2"},
	"python/psycopg":    {"/usr/bin/python3", "-c", "import psycopg"},
	"python/asyncpg":    {"/usr/bin/python3", "-c", "import asyncpg"},
	"ruby/activerecord": {"ruby", "-e", "require 'active_record'; require 'pg'"},
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
		s.folder, s.ready = folder, libraries[folder]
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

// made returns the folder with what the stack's build makes.
func (s stack) made(t *testing.T) string {
	t.Helper()
	if s.ready != nil {
		if out, err := exec.Command(s.ready[0], s.ready[1:]...).CombinedOutput(); err != nil {
			missing(t, "%s is not installed: %v\n%s", s.folder, err, out)
		}
	}
	into := t.TempDir()
	if s.build != nil {
		s.build(t, s, into)
	}
	return into
}

func (s stack) name() string { return filepath.Base(s.folder) }

func python(s stack, program, _, address string) *exec.Cmd {
	return command(s.folder, []string{"PYTHONPATH=" + abs("python"), "PYTHONDONTWRITEBYTECODE=1"}, "/usr/bin/python3", program+".py", address)
}

func ruby(s stack, program, _, address string) *exec.Cmd {
	return command(s.folder, nil, "ruby", program+".rb", address)
}

func node(s stack, program, _, address string) *exec.Cmd {
	return command(s.folder, nil, abs("node/node_modules/.bin/tsx"), program+".ts", address)
}

func php(s stack, program, _, address string) *exec.Cmd {
	return command(s.folder, nil, "php", program+".php", address)
}

func perl(s stack, program, _, address string) *exec.Cmd {
	return command(s.folder, []string{"PERL5LIB=" + abs("perl")}, "perl", program+".pl", address)
}

func golang(s stack, program, built, address string) *exec.Cmd {
	args := []string{address}
	if program != "main" {
		args = append(args, program)
	}
	return command(s.folder, nil, filepath.Join(built, s.name()), args...)
}

func java(s stack, program, built, address string) *exec.Cmd {
	class := strings.ToUpper(program[:1]) + program[1:]
	return command(s.folder, nil, "java", "-XX:TieredStopAtLevel=1", "-cp", built+":"+s.jars(), class, jdbc(address))
}

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

func javac(t *testing.T, s stack, into string) {
	for _, jar := range strings.Split(s.jars(), ":") {
		if _, err := os.Stat(jar); err != nil {
			missing(t, "%v", err)
		}
	}
	if _, err := exec.LookPath("javac"); err != nil {
		missing(t, "%v", err)
	}
	sources, err := filepath.Glob(s.folder + "/*.java")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-proc:none", "-cp", s.jars(), "-d", into, "java/Scenes.java"}, sources...)
	if out, err := exec.Command("javac", args...).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	if settings, err := os.ReadFile(s.folder + "/META-INF/persistence.xml"); err == nil {
		if err := os.MkdirAll(into+"/META-INF", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(into+"/META-INF/persistence.xml", settings, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func goBuild(t *testing.T, s stack, into string) {
	build := exec.Command("go", "build", "-o", filepath.Join(into, s.name()), "./"+s.name())
	build.Dir = "go"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// nodeModules installs what package-lock.json names, once for all stacks, and nothing
// when it did before.
func nodeModules(t *testing.T, _ stack, _ string) {
	if err := installed(); err != nil {
		missing(t, "npm can't install: %v", err)
	}
}

var installed = sync.OnceValue(func() error {
	lock, err := os.ReadFile("node/package-lock.json")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(lock)
	const stamp = "node/node_modules/.lock"
	if was, err := os.ReadFile(stamp); err != nil || string(was) != hex.EncodeToString(sum[:]) {
		install := exec.CommandContext(context.Background(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
		install.Dir = "node"
		if out, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("npm ci: %w\n%s", err, out)
		}
		if err := os.WriteFile(stamp, []byte(hex.EncodeToString(sum[:])), 0o600); err != nil {
			return err
		}
	}
	// Prisma's command would fetch an engine that "generate" doesn't run.
	generate := command("node/prisma", []string{"PRISMA_SCHEMA_ENGINE_BINARY=/bin/true", "CHECKPOINT_DISABLE=1"}, abs("node/node_modules/.bin/prisma"), "generate")
	if out, err := generate.CombinedOutput(); err != nil {
		return fmt.Errorf("prisma generate: %w\n%s", err, out)
	}
	return nil
})
