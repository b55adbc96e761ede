namespace Hypervisor.Ctl.Completion;

/// <summary>
/// The completion scripts. They know nothing of the commands: each asks <c>hypervisor-ctl __complete -- WORDS…</c>, which
/// answers one candidate per line (word, tabulator, description) or ":files" for "file names here".
/// </summary>
internal static class Scripts
{
    public static string For(Shell shell) => shell switch
    {
        Shell.Bash => Bash,
        Shell.Zsh => Zsh,
        _ => Fish,
    };

    // COMP_WORDS splits at ':', '=' and, unless host names are not completed, '@'; the words are put together again from the line, as far as the cursor.
    private const string Bash = """
        # bash completion for hypervisor-ctl
        _hypervisor_ctl() {
            local line="${COMP_LINE:0:COMP_POINT}" program="${COMP_WORDS[0]}" word candidates
            local -a words
            read -ra words <<< "$line"
            [[ "$line" == *[[:space:]] ]] && words+=("")
            word="${words[${#words[@]}-1]}"
            candidates="$("$program" __complete -- "${words[@]:1}" 2>/dev/null)" || return 0
            COMPREPLY=()
            if [[ "$candidates" == ":files" ]]; then
                compopt -o default 2>/dev/null
                return 0
            fi
            local breaks=":="
            [[ "$COMP_WORDBREAKS" == *@* ]] && breaks+="@"
            local candidate prefix="${word%"${word##*[$breaks]}"}"
            while IFS=$'\t' read -r candidate _; do
                [[ -n "$candidate" && "$candidate" == "$word"* ]] && COMPREPLY+=("${candidate#"$prefix"}")
            done <<< "$candidates"
            return 0
        }
        complete -F _hypervisor_ctl hypervisor-ctl

        """;

    private const string Zsh = """
        #compdef hypervisor-ctl
        _hypervisor_ctl() {
            local -a lines candidates
            local line
            lines=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
            if [[ "${lines[1]}" == ":files" ]]; then
                _files
                return
            fi
            for line in "${lines[@]}"; do
                [[ -n "$line" ]] && candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
            done
            _describe 'hypervisor-ctl' candidates
        }
        if [[ "$funcstack[1]" == "_hypervisor_ctl" ]]; then
            _hypervisor_ctl "$@"
        else
            compdef _hypervisor_ctl hypervisor-ctl
        fi

        """;

    private const string Fish = """
        # fish completion for hypervisor-ctl
        function __hypervisor_ctl_complete
            set -l words (commandline -opc) (commandline -ct)
            set -l candidates ($words[1] __complete -- $words[2..-1] 2>/dev/null)
            if test "$candidates[1]" = ":files"
                __fish_complete_path (commandline -ct)
            else
                printf '%s\n' $candidates
            end
        end
        complete -c hypervisor-ctl -f -a '(__hypervisor_ctl_complete)'

        """;
}
