using Hypervisor.Protocol;
using Hypervisor.Server.Api.Validation;

namespace Hypervisor.Server.Api.Lists;

/// <summary>Reads a selector left to right; the first thing it cannot use is what it reports.</summary>
internal sealed class LabelSelectorParser(string text)
{
    private int _position;

    public LabelSelector Parse()
    {
        if (text.Length > Limits.Api.SelectorLength)
        {
            throw new LabelSelectorException(Limits.Api.SelectorLength + 1, $"at most {Limits.Api.SelectorLength} characters", "more");
        }

        var requirements = new List<LabelRequirement>();
        while (true)
        {
            requirements.Add(Requirement());
            SkipSpaces();
            if (_position == text.Length)
            {
                return new(requirements);
            }

            Expect(',', "',' or the end");
            if (requirements.Count == Limits.Api.SelectorRequirements)
            {
                throw Unexpected($"at most {Limits.Api.SelectorRequirements} requirements");
            }
        }
    }

    private LabelRequirement Requirement()
    {
        SkipSpaces();
        if (Take('!'))
        {
            return new(Key(), LabelOperator.Absent, []);
        }

        var key = Key();
        SkipSpaces();
        if (_position == text.Length || text[_position] == ',')
        {
            return new(key, LabelOperator.Exists, []);
        }

        if (Take('='))
        {
            Take('=');
            return new(key, LabelOperator.In, [Value()]);
        }

        if (Take('!'))
        {
            Expect('=', "'=' after '!'");
            return new(key, LabelOperator.NotIn, [Value()]);
        }

        if (TakeWord("in"))
        {
            return new(key, LabelOperator.In, Values());
        }

        if (TakeWord("notin"))
        {
            return new(key, LabelOperator.NotIn, Values());
        }

        throw Unexpected("'=', '==', '!=', 'in (…)', 'notin (…)', ',' or the end");
    }

    private string Key()
    {
        SkipSpaces();
        var start = _position;
        var key = Token();
        if (key.Length == 0)
        {
            throw Unexpected("a label key");
        }

        return LabelSyntax.KeyProblem(key) is { } problem ? throw new LabelSelectorException(start + 1, "a label key", $"'{key}': {problem}") : key;
    }

    private string Value()
    {
        SkipSpaces();
        var start = _position;
        var value = Token();
        if (value.Length == 0 && _position < text.Length && text[_position] is not (',' or ')'))
        {
            throw Unexpected("a label value");
        }

        return LabelSyntax.ValueProblem(value) is { } problem
            ? throw new LabelSelectorException(start + 1, "a label value", $"'{value}': {problem}")
            : value;
    }

    private List<string> Values()
    {
        SkipSpaces();
        Expect('(', "'('");
        var values = new List<string>();
        while (true)
        {
            values.Add(Value());
            SkipSpaces();
            if (Take(')'))
            {
                return values;
            }

            Expect(',', "',' or ')'");
            if (values.Count == Limits.Api.SelectorValues)
            {
                throw Unexpected($"at most {Limits.Api.SelectorValues} values");
            }
        }
    }

    // '/' and '.' belong to prefixed keys.
    private string Token()
    {
        var start = _position;
        while (_position < text.Length && (char.IsAsciiLetterOrDigit(text[_position]) || text[_position] is '-' or '_' or '.' or '/'))
        {
            _position++;
        }

        return text[start.._position];
    }

    private bool TakeWord(string word)
    {
        var end = _position + word.Length;
        if (string.CompareOrdinal(text, _position, word, 0, word.Length) != 0 || (end < text.Length && text[end] is not (' ' or '(')))
        {
            return false;
        }

        _position = end;
        return true;
    }

    private bool Take(char wanted)
    {
        if (_position == text.Length || text[_position] != wanted)
        {
            return false;
        }

        _position++;
        return true;
    }

    private void Expect(char wanted, string expected)
    {
        if (!Take(wanted))
        {
            throw Unexpected(expected);
        }
    }

    private void SkipSpaces()
    {
        while (_position < text.Length && text[_position] == ' ')
        {
            _position++;
        }
    }

    private LabelSelectorException Unexpected(string expected) =>
        new(_position + 1, expected, _position == text.Length ? "the end" : $"'{Printable.Quote(text[_position])}'");
}
