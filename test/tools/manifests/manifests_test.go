package manifests

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/api"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob("../../../deploy/" + pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found
}

// kinds are the types of the kinds that deploy/kubernetes uses.
var kinds = map[string]func() any{
	"v1 ConfigMap":                  func() any { return &corev1.ConfigMap{} },
	"v1 Service":                    func() any { return &corev1.Service{} },
	"apps/v1 Deployment":            func() any { return &appsv1.Deployment{} },
	"batch/v1 Job":                  func() any { return &batchv1.Job{} },
	"policy/v1 PodDisruptionBudget": func() any { return &policyv1.PodDisruptionBudget{} },
}

func TestKubernetes(t *testing.T) {
	for _, file := range files(t, "kubernetes/*.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, doc := range bytes.Split(text, []byte("\n---\n")) {
			if err := kubernetes(doc); err != nil {
				t.Errorf("%s, document %d: %v", file, i+1, err)
			}
		}
	}
	for _, bad := range []string{"apiVersion: v1\nkind: Service\nspec: {port: []}", "apiVersion: v1\nkind: Servise",
		"apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: two}"} {
		if kubernetes([]byte(bad)) == nil {
			t.Errorf("taken for valid:\n%s", bad)
		}
	}
}

// kubernetes reads one object strictly: unknown fields and wrong types are errors.
func kubernetes(doc []byte) error {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return err
	}
	of := kinds[head.APIVersion+" "+head.Kind]
	if of == nil {
		return &unknown{"kind " + head.APIVersion + " " + head.Kind}
	}
	return yaml.UnmarshalStrict(doc, of())
}

type unknown struct{ what string }

func (u *unknown) Error() string { return "unknown " + u.what }

func TestNomad(t *testing.T) {
	for _, file := range files(t, "nomad/*.nomad.hcl") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range nomad(file, text) {
			t.Errorf("%s: %s", file, problem)
		}
	}
	for _, bad := range []string{`job "x" { grup "y" {} }`, `job "x" { group "y" { task "z" { kill_timeout = "1 minute" } } }`,
		`job "x" { group "y" { count = 1`, `job "x" { type = "service" owner = "me" }`} {
		if nomad("bad", []byte(bad)) == nil {
			t.Errorf("taken for valid:\n%s", bad)
		}
	}
}

// nomad checks syntax, and names of blocks and attributes against Nomad's types.
func nomad(name string, text []byte) (problems []string) {
	file, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	if diags.HasErrors() {
		return []string{diags.Error()}
	}
	body := file.Body.(*hclsyntax.Body)
	if len(body.Blocks) != 1 || body.Blocks[0].Type != "job" || len(body.Attributes) > 0 {
		return []string{"expected one job"}
	}
	return check(body.Blocks[0].Body, reflect.TypeFor[api.Job]())
}

func check(body *hclsyntax.Body, of reflect.Type) (problems []string) {
	attributes, blocks := members(of)
	for name, a := range body.Attributes {
		field, known := attributes[name]
		if !known {
			problems = append(problems, a.SrcRange.String()+": no attribute "+name+" in "+of.String())
			continue
		}
		if field == reflect.TypeFor[time.Duration]() {
			v, diags := a.Expr.Value(nil)
			if diags.HasErrors() {
				problems = append(problems, diags.Error())
			} else if _, err := time.ParseDuration(v.AsString()); err != nil {
				problems = append(problems, a.SrcRange.String()+": "+err.Error())
			}
		}
	}
	for _, b := range body.Blocks {
		field, known := blocks[b.Type]
		switch {
		case !known:
			problems = append(problems, b.TypeRange.String()+": no block "+b.Type+" in "+of.String())
		case field.Kind() == reflect.Struct: // else free, as config and env are
			problems = append(problems, check(b.Body, field)...)
		}
	}
	return problems
}

// members are what a type's hcl tags allow, with the types of their values.
func members(of reflect.Type) (attributes, blocks map[string]reflect.Type) {
	attributes, blocks = map[string]reflect.Type{}, map[string]reflect.Type{}
	for i := range of.NumField() {
		f := of.Field(i)
		name, kind, _ := strings.Cut(f.Tag.Get("hcl"), ",")
		t := f.Type
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		switch kind {
		case "optional", "":
			if name != "" {
				attributes[name] = t
			}
		case "block":
			blocks[name] = t
		}
	}
	if of == reflect.TypeFor[api.NetworkResource]() { // its ports have two fields and a label
		blocks["port"] = reflect.TypeFor[api.Port]()
	}
	return attributes, blocks
}
