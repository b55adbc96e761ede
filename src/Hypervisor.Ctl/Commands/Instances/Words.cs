using System.Text;

namespace Hypervisor.Ctl.Commands.Instances;

/// <summary>Splits a line into words as a shell does, with its quotation marks and backslashes and with nothing else of it.</summary>
internal static class Words
{
    /// <returns>Null when a quotation mark or a backslash ends the line unfinished.</returns>
    public static IReadOnlyList<string>? Split(string line)
    {
        var words = new List<string>();
        StringBuilder? word = null;
        var quote = '\0';
        for (var index = 0; index < line.Length; index++)
        {
            var character = line[index];
            if (character == '\\' && quote != '\'')
            {
                if (++index == line.Length)
                {
                    return null;
                }

                // POSIX, 2.2.3: within double quotes it is itself, unless what follows would mean something there.
                word = (word ?? new()).Append(quote == '"' && line[index] is not ('"' or '\\') ? "\\" : "").Append(line[index]);
            }
            else if (character == quote)
            {
                quote = '\0';
            }
            else if (quote == '\0' && character is '\'' or '"')
            {
                (quote, word) = (character, word ?? new());
            }
            else if (quote == '\0' && char.IsWhiteSpace(character))
            {
                Take();
            }
            else
            {
                word = (word ?? new()).Append(character);
            }
        }

        Take();
        return quote == '\0' ? words : null;

        void Take()
        {
            if (word is not null)
            {
                words.Add(word.ToString());
                word = null;
            }
        }
    }
}
