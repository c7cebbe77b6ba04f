package lambda

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/ask"
	"lintel.dev/lintel/proxy/filter/firewall"
	"lintel.dev/lintel/proxy/store"
)

// Config of the filter. What API Gateway has too is spelt as there.
type Config struct {
	Function       string            `yaml:"function" required:"true" doc:"name or ARN of the function, with :alias or :version if need be." example:"arn:aws:lambda:eu-west-1:123456789012:function:auth"`
	Endpoint       string            `yaml:"endpoint" doc:"where functions are invoked; the region's Lambda when empty." example:"http://127.0.0.1:9001"`
	Region         string            `yaml:"region" doc:"AWS region; the function's ARN's, or else AWS_REGION, when empty."`
	Sign           string            `yaml:"sign" default:"aws" enum:"aws,none" local:"aws" doc:"aws signs invocations (SigV4) with what AWS's standard chain finds: environment, shared files, web identity, container or instance role. none is for a runtime of your own."`
	Type           string            `yaml:"type" default:"REQUEST" enum:"REQUEST,TOKEN" doc:"what the function is given: the request, or the token alone."`
	Payload        string            `yaml:"payload" default:"1.0" enum:"1.0,2.0" doc:"payload format version; 2.0 is HTTP APIs' and for REQUEST only."`
	Simple         bool              `yaml:"simple_responses" doc:"the function answers isAuthorized in place of a policy; payload 2.0 only."`
	Sources        []string          `yaml:"identity_sources" listify:"true" default:"[method.request.header.Authorization]" doc:"what identifies the caller: method.request.header.NAME, method.request.querystring.NAME, stageVariables.NAME, context.httpMethod, context.path, context.resourcePath, context.stage, context.identity.sourceIp, or as HTTP APIs spell them ($request.header.NAME, $context.routeKey). If one is missing or empty, the answer is 401 without invoking. Answers are remembered by them."`
	Validation     string            `yaml:"validation" doc:"regular expression that a TOKEN must match; 401 without invoking if it does not."`
	API            API               `yaml:"api" doc:"what the function is told of the API, and methodArn is made of."`
	StageVariables map[string]string `yaml:"stage_variables" doc:"given to the function."`
	TTL            *time.Duration    `yaml:"ttl" default:"300s" min:"0s" max:"1h" doc:"how long an answer counts for the same identity sources, as API Gateway has it; 0s asks every time."`
	Max            int               `yaml:"max" default:"10000" min:"1" max:"1000000" doc:"answers kept at most."`
	Timeout        time.Duration     `yaml:"timeout" default:"5s" min:"10ms" max:"30s" doc:"for one invocation."`
	Headers        map[string]string `yaml:"context_headers" doc:"request header for the service to the key of the answer's context whose value it gets, or principalId; a client's own copy is removed." example:"{X-Tenant: tenantId}"`
	Prefix         string            `yaml:"context_prefix" doc:"every value of the context becomes a header for the service, named by this, a dash and the key; a client's own are removed." example:"X-Authorizer"`
	Identity       Mapping           `yaml:"identity" doc:"which values of the context say more of who the user is."`
	CAFile         string            `yaml:"ca_file" doc:"PEM certificates to trust in place of the system's."`
	Connections    int               `yaml:"connections" default:"64" min:"1" max:"10000" doc:"connections to the endpoint, at most."`
}

// API is what methodArn is made of.
type API struct {
	Account string `yaml:"account" default:"000000000000" doc:"AWS account."`
	ID      string `yaml:"id" default:"lintel" doc:"API id."`
	Stage   string `yaml:"stage" default:"$default" doc:"stage."`
}

// Mapping says what further values of the context mean. principalId is the
// subject unless said otherwise.
type Mapping struct {
	Subject  string `yaml:"subject" default:"principalId" doc:"the user's id."`
	Roles    string `yaml:"roles" doc:"roles, by commas."`
	Scope    string `yaml:"scope" doc:"scopes, by spaces or commas."`
	Consumer string `yaml:"consumer" default:"usageIdentifierKey" doc:"name of a configured consumer."`
	Issuer   string `yaml:"issuer" doc:"who vouches for the user; lambda: and the function when empty."`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("lambda_authorizer", "Has an AWS Lambda function decide, by the contract of API Gateway's Lambda authorizers.", build)
}

// defaults fills what the decoder would have.
func (c *Config) defaults() {
	set(&c.Sign, "aws")
	set(&c.Type, "REQUEST")
	set(&c.Payload, "1.0")
	set(&c.API.Account, "000000000000")
	set(&c.API.ID, "lintel")
	set(&c.API.Stage, "$default")
	set(&c.Max, 10000)
	set(&c.Timeout, 5*time.Second)
	set(&c.Identity.Subject, "principalId")
	set(&c.Identity.Consumer, "usageIdentifierKey")
	set(&c.Identity.Issuer, "lambda:"+c.Function)
	if c.Sources == nil {
		c.Sources = []string{"method.request.header.Authorization"}
	}
	if c.TTL == nil {
		ttl := 300 * time.Second
		c.TTL = &ttl
	}
	if part := strings.Split(c.Function, ":"); c.Region == "" && len(part) > 6 && part[0] == "arn" {
		c.Region = part[3]
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		set(&c.Region, os.Getenv(name))
	}
}

func set[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func build(c *Config, env *filter.Env) (any, error) {
	cfg := *c
	cfg.defaults()
	f := &Filter{Config: cfg, log: env.Log, route: env.Route, now: time.Now, consumers: map[string]string{}}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	for _, consumer := range env.Consumers {
		f.consumers[consumer.Name] = consumer.Name
	}
	if err := f.invocation(); err != nil {
		return nil, err
	}
	if err := f.contract(); err != nil {
		return nil, err
	}
	if err := f.names(); err != nil {
		return nil, err
	}
	return f, f.lease(env)
}

var functionName = regexp.MustCompile(`^(arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:)?[A-Za-z0-9_-]{1,140}(:(\$LATEST|[A-Za-z0-9_-]{1,128}))?$`)

// invocation says where and how the function is called.
func (f *Filter) invocation() error {
	if !functionName.MatchString(f.Function) {
		return filter.Errorf("function", "expected the name or the ARN of a function, found %q", f.Function)
	}
	if f.Sign == "aws" && f.Region == "" {
		return filter.Errorf("region", "is missing: neither a function's ARN nor AWS_REGION says it")
	}
	endpoint := f.Endpoint
	if endpoint == "" {
		if f.Region == "" {
			return filter.Errorf("endpoint", "is missing: without a region there is no Lambda to ask")
		}
		endpoint = "https://lambda." + f.Region + ".amazonaws.com"
		if partition(f.Region) == "aws-cn" {
			endpoint += ".cn"
		}
	}
	set(&f.Region, "us-east-1") // an ARN needs one
	u, err := ask.Address(endpoint)
	if err != nil {
		return filter.Errorf("endpoint", "%s", err)
	}
	if u.RawQuery != "" {
		return filter.Errorf("endpoint", "expected an address without a query")
	}
	f.address = strings.TrimSuffix(u.String(), "/") + "/2015-03-31/functions/" + escape(f.Function) + "/invocations"
	return nil
}

// contract checks what belongs together in API Gateway.
func (f *Filter) contract() error {
	var err error
	switch {
	case f.Payload == "2.0" && f.Type == "TOKEN":
		return filter.Errorf("payload", "found 2.0 with type TOKEN: it is for REQUEST only")
	case f.Simple && f.Payload != "2.0":
		return filter.Errorf("simple_responses", "found true with payload %s: it needs 2.0", f.Payload)
	case f.Validation != "" && f.Type != "TOKEN":
		return filter.Errorf("validation", "is for type TOKEN only")
	case len(f.Sources) == 0 && *f.TTL > 0:
		return filter.Errorf("identity_sources", "none are given, and by them answers are remembered: give some, or ttl: 0s")
	}
	if f.Validation != "" {
		if f.validation, err = regexp.Compile("^(?:" + f.Validation + ")$"); err != nil {
			return filter.Errorf("validation", "not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	}
	for i, s := range f.Sources {
		source, err := parseSource(s, f.StageVariables)
		if err != nil {
			return filter.Errorf(fmt.Sprintf("identity_sources[%d]", i), "%s", err)
		}
		f.sources = append(f.sources, source)
	}
	if f.Type == "TOKEN" && (len(f.sources) != 1 || f.sources[0].kind != fromHeader) {
		return filter.Errorf("identity_sources", "type TOKEN needs exactly one, method.request.header.NAME")
	}
	f.arn = "arn:" + partition(f.Region) + ":execute-api:" + f.Region + ":" + f.API.Account + ":" + f.API.ID + "/" + f.API.Stage + "/"
	return nil
}

// partition is the first part of a region's ARNs.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// names compiles which headers are made of the context.
func (f *Filter) names() error {
	names := slices.Sorted(maps.Keys(f.Headers))
	for i, name := range names {
		at := "context_headers." + name
		if err := ask.CheckName(at, name); err != nil {
			return err
		}
		if strings.Contains(name, "*") || f.Headers[name] == "" {
			return filter.Errorf(at, "expected a header's name and the key of a value")
		}
		if slices.ContainsFunc(names[:i], func(o string) bool { return exchange.EqualFold(o, name) }) {
			return filter.Errorf(at, "%s is given twice", name)
		}
	}
	if f.Prefix != "" {
		if strings.Contains(f.Prefix, "*") || strings.HasSuffix(f.Prefix, "-") {
			return filter.Errorf("context_prefix", "expected the beginning of a header's name, without dash or star, found %q", f.Prefix)
		}
		if err := ask.CheckName("context_prefix", f.Prefix+"-*"); err != nil {
			return err
		}
		names = append(names, f.Prefix+"-*")
	}
	if len(names) == 0 {
		return nil
	}
	var err error
	f.made, err = firewall.NewSet(names...)
	return err
}

// caller is what invocations need and a reload keeps.
type caller struct {
	*ask.Client
	credentials aws.CredentialsProvider // nil: unsigned
}

// lease takes connections, credentials and answers from the store. Routes with
// the same settings share them: an authorizer is the API's.
func (f *Filter) lease(env *filter.Env) error {
	ca, print, err := ask.Settings(&f.Config, f.CAFile, f.consumers)
	if err != nil {
		return err
	}
	f.caller, err = store.Use(env.Store, "lambda/"+f.Function, print, func() (*caller, error) {
		client, err := ask.New(ask.Config{Timeout: f.Timeout, Connections: f.Connections, Limit: maxAnswer, CA: ca})
		if err != nil {
			return nil, filter.Errorf("ca_file", "%s", strings.TrimPrefix(err.Error(), "ask: "))
		}
		c := &caller{Client: client}
		if f.Sign == "aws" {
			// Reads the environment and the shared files; whoever gives
			// credentials is only asked when they are needed.
			found, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(f.Region))
			if err != nil {
				return nil, filter.Errorf("sign", "AWS's configuration cannot be read: %s", err)
			}
			c.credentials = found.Credentials
		}
		return c, nil
	})
	if err != nil {
		return err
	}
	f.verdicts, err = store.Use(env.Store, "lambda-answers/"+f.Function, print, func() (*store.Verdicts[*verdict], error) {
		return store.NewVerdicts[*verdict](f.Max), nil
	})
	return err
}
