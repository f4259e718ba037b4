ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.11:80 -s ovf
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.13:80 -m -w 10
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.18:80 -m -w 5
ipvsadm -A -t 192.0.2.11:80 -s ovf
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.14:80 -m -w 100
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.16:80 -m -w 4 -x 1 -y 0
