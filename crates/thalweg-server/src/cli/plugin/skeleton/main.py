

if __name__ == "__main__":
    run("__NAME__", __SYMBOL__)
