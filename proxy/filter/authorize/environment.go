package authorize

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"lintel.dev/lintel/proxy/filter"
)

// expression is one that has been compiled and checked.
type expression struct {
	text    string
	program cel.Program
	cost    string // as estimated
}

// variable is what an expression may speak of. Each is one name, dot included, so
// that nothing is made of what an expression does not ask for.
type variable struct {
	name string
	typ  *cel.Type
	size uint64 // characters or entries, at most, for the estimate
}

// A head has at most 1 MiB and usually 64 KiB; what is longer costs more than was
// estimated and is stopped by the limit.
const head = 64 << 10

var (
	strs      = cel.MapType(cel.StringType, cel.StringType)
	variables = []variable{
		{"request.method", cel.StringType, 64},
		{"request.scheme", cel.StringType, 5},
		{"request.host", cel.StringType, 255},
		{"request.path", cel.StringType, 8 << 10},
		{"request.query", strs, 128},
		{"request.params", strs, 16},
		{"request.headers", strs, 128},
		{"request.route", cel.StringType, 128},
		{"identity.subject", cel.StringType, 1024},
		{"identity.issuer", cel.StringType, 1024},
		{"identity.roles", cel.ListType(cel.StringType), 256},
		{"identity.scope", cel.ListType(cel.StringType), 256},
		{"claims", cel.MapType(cel.StringType, cel.DynType), 256},
		{"consumer.name", cel.StringType, 128},
		{"consumer.tags", strs, 64},
		{"peer.id", cel.StringType, 2048},
		{"peer.trust_domain", cel.StringType, 255},
		{"client.ip", cel.StringType, 45},
		{"now", cel.TimestampType, 1},
	}
)

func known() string {
	var names []string
	for _, v := range variables {
		names = append(names, v.name)
	}
	return strings.Join(names, ", ")
}

// environment is what all expressions are compiled in.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(8 << 10),
		cel.ParserRecursionLimit(64),
		cel.EagerlyValidateDeclarations(true),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals(),
			cel.ValidateComprehensionNestingLimit(2), ranges{}),
		ext.Strings(ext.StringsVersion(3)),
		ext.Sets(),
		cel.Function("inCidr",
			cel.MemberOverload("string_in_cidr", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(inOne)),
			cel.MemberOverload("string_in_cidrs", []*cel.Type{cel.StringType, cel.ListType(cel.StringType)}, cel.BoolType, cel.BinaryBinding(inAny))),
	}
	for _, v := range variables {
		options = append(options, cel.Variable(v.name, v.typ))
	}
	return cel.NewEnv(options...)
})

// compile checks an expression at path of the section and makes a program of it.
func compile(path, text string, limit int) (*expression, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("authorize: %w", err)
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, filter.Errorf(path, "%s", complaint(issues))
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, filter.Errorf(path, "expected an expression that is true or false, found one that gives %s", t)
	}
	estimate, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, filter.Errorf(path, "its cost cannot be estimated: %s", err)
	}
	if estimate.Min > uint64(limit) {
		return nil, filter.Errorf(path, "it costs at least %d, and cost_limit is %d: every request would be denied", estimate.Min, limit)
	}
	program, err := env.Program(checked, cel.CostLimit(uint64(limit)), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, filter.Errorf(path, "%s", err)
	}
	return &expression{text, program, spell(estimate)}, nil
}

func spell(e cost.Estimate) string {
	if e.Max == math.MaxUint64 {
		return fmt.Sprintf("%d or more", e.Min)
	}
	return fmt.Sprintf("%d to %d", e.Min, e.Max)
}

// complaint says what is wrong and where in the expression.
func complaint(issues *cel.Issues) string {
	var parts []string
	hint := ""
	for _, e := range issues.Errors() {
		where := fmt.Sprintf("column %d", e.Location.Column()+1)
		if e.Location.Line() > 1 {
			where = fmt.Sprintf("line %d, %s", e.Location.Line(), where)
		}
		if e.Location.Line() < 1 {
			where = "the expression"
		}
		message := strings.ReplaceAll(e.Message, " (in container '')", "")
		if strings.Contains(message, "undeclared reference") {
			hint = "; known are " + known()
		}
		if parts = append(parts, where+": "+message); len(parts) == 3 {
			break
		}
	}
	return strings.Join(parts, "; ") + hint
}

// sizes bounds what the variables may be.
type sizes struct{}

// EstimateCallCost implements cost.Estimator.
func (sizes) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if function == "inCidr" {
		return &cost.CallEstimate{CostEstimate: cost.Estimate{Min: 1, Max: 64}}
	}
	return nil
}

// EstimateSize implements cost.Estimator.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	path := node.Path()
	if len(path) == 0 {
		return nil
	}
	for _, v := range variables {
		switch {
		case path[0] != v.name || v.name == "claims" && len(path) > 1:
		case len(path) == 1:
			return &cost.SizeEstimate{Max: v.size}
		default:
			return &cost.SizeEstimate{Max: head}
		}
	}
	return nil
}

// inOne reports whether an address lies in a range. What is no address is an
// error, and so denies.
func inOne(address, cidr ref.Val) ref.Val {
	a, err := parseAddress(address)
	if err != nil {
		return types.WrapErr(err)
	}
	p, err := parseRange(cidr)
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(p.Contains(a))
}

func inAny(address, list ref.Val) ref.Val {
	ranges, ok := list.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(list)
	}
	a, err := parseAddress(address)
	if err != nil {
		return types.WrapErr(err)
	}
	in := false
	for it := ranges.Iterator(); it.HasNext() == types.True; {
		p, err := parseRange(it.Next())
		if err != nil {
			return types.WrapErr(err)
		}
		in = in || p.Contains(a)
	}
	return types.Bool(in)
}

func parseAddress(v ref.Val) (netip.Addr, error) {
	s, ok := v.(types.String)
	if !ok {
		return netip.Addr{}, fmt.Errorf("inCidr: expected an address as a string, found %s", v.Type())
	}
	a, err := netip.ParseAddr(string(s))
	if err != nil {
		return a, fmt.Errorf("inCidr: expected an address, found something else")
	}
	return a.Unmap().WithZone(""), nil
}

func parseRange(v ref.Val) (netip.Prefix, error) {
	s, ok := v.(types.String)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("inCidr: expected a range as a string, found %s", v.Type())
	}
	p, err := netip.ParsePrefix(string(s))
	if err != nil {
		if a, err := netip.ParseAddr(string(s)); err == nil && a.Zone() == "" {
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
		return p, fmt.Errorf("inCidr: expected a range such as 10.0.0.0/8, found %q", string(s))
	}
	return p, nil
}

// ranges finds a misspelt range while the configuration is read.
type ranges struct{}

// Name implements cel.ASTValidator.
func (ranges) Name() string { return "lintel.validator.ranges" }

// Validate implements cel.ASTValidator.
func (ranges) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	for _, call := range ast.MatchDescendants(ast.NavigateAST(a), ast.FunctionMatcher("inCidr")) {
		for _, arg := range call.AsCall().Args() {
			list := []ast.Expr{arg}
			if arg.Kind() == ast.ListKind {
				list = arg.AsList().Elements()
			}
			for _, e := range list {
				if e.Kind() != ast.LiteralKind {
					continue
				}
				if _, err := parseRange(e.AsLiteral()); err != nil {
					issues.ReportErrorAtID(e.ID(), "%s", err)
				}
			}
		}
	}
}
